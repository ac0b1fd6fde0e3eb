"""JSON, as text, with what parsers and stores stumble over. Every string holds `MARK`, so that logs can be searched."""

import json
from collections.abc import Callable, Mapping
from random import Random

MARK = "zqx-marked-zqx"

ODD_VALUES = (
    "null",
    "true",
    "0",
    "-0.0",
    "1.5",
    "9007199254740991",
    "9007199254740993",
    "18446744073709551616",
    "1" + "0" * 400,
    "-" + "9" * 400,
    "1e308",
    "1e999",
    "NaN",
    "-Infinity",
    "1.",
    "01",
    '""',
    '"\\u0000"',
    '"\\ud83d"',
    '"\\ude00\\ud83d"',
    '"\\ud83d\\ude00"',
    '"\x00"',
    '"\t"',
    f'"{MARK}"',
    f'"{MARK * 8}"',
    f'"{MARK}{"x" * 300}"',
    f'"{MARK}{"y" * 40_000}"',
    '"2026-11-01T00:00:00.000Z"',
    '"9999-99-99"',
    '"0001-01-01T00:00:00+23:59"',
    "[]",
    "{}",
    "[1,2]",
    f'["{MARK}"]',
    f'{{"{MARK}":1}}',
    '{"__proto__":{"x":1},"constructor":{"prototype":1}}',
    '{"a":1,"a":2}',
    '{"":1}',
    "[" * 200 + "]" * 200,
    '{"a":' * 200 + "1" + "}" * 200,
    "[" * 5_000 + "]" * 5_000,
)
NAMES = (
    *("userId", "anonymousId", "messageId", "event", "type", "traits", "properties", "context", "integrations"),
    *("timestamp", "originalTimestamp", "sentAt", "groupId", "previousId", "name", "writeKey", "__proto__"),
    *("user_id", "anonymous_id", "event_id", "session_id", "url", "$distinct_ids", "$device_id", "batch", "events"),
)
ODD_BODIES = (
    b"",
    b" ",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"1",
    b"{} {}",
    b"\xef\xbb\xbf{}",
    b'{"userId":"\xff\xfe"}',
    b'{"userId":"\xed\xa0\x80"}',
    b'{"batch":{}}',
    b'{"batch":[1,null,"x",[],{}]}',
    b"data=",
    b"data=e30%3D",
    b"data=%7B%22event%22%3A1%7D&verbose=1",
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000,
    bytes(range(256)),
)

Members = dict[str, str]
"""An object whose values are JSON text already."""


def event(pick: Random, names: Mapping[str, str]) -> str:
    """An object of these members (JSON text each), as a client means it or changed somewhere."""
    members = dict(names)
    for _ in range(pick.choice((0, 0, 1, 1, 2, 4))):
        pick.choice(_CHANGES)(pick, members)
    pairs = [f"{json.dumps(name)}:{value}" for name, value in members.items()]
    if pick.random() < 0.1:
        pairs += pick.sample(pairs, min(len(pairs), 2))
    if pick.random() < 0.1:
        pick.shuffle(pairs)
    return "{" + ",".join(pairs) + "}"


def cut_or_scratched(pick: Random, body: bytes) -> bytes:
    """The body with bytes missing, or others in their place."""
    if not body:
        return body
    at = pick.randrange(len(body))
    match pick.randrange(3):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + pick.randbytes(pick.randint(1, 4)) + body[at + 1 :]
        case _:
            return body[:at] + body[at + pick.randint(1, 20) :]


def _set(pick: Random, members: Members) -> None:
    members[pick.choice(NAMES)] = pick.choice(ODD_VALUES)


def _replace(pick: Random, members: Members) -> None:
    if members:
        members[pick.choice(list(members))] = pick.choice(ODD_VALUES)


def _drop(pick: Random, members: Members) -> None:
    if members:
        del members[pick.choice(list(members))]


def _grow(pick: Random, members: Members) -> None:
    """To about the limit for an event, a few bytes under or over it."""
    length = sum(len(name) + len(value) + 4 for name, value in members.items()) + 12
    members["filler"] = '"' + "f" * max(0, 32 * 1024 - length + pick.randint(-3, 3)) + '"'


_CHANGES: tuple[Callable[[Random, Members], None], ...] = (_set, _replace, _replace, _drop, _drop, _grow)
