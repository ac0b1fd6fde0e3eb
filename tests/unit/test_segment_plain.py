"""Plain calls come to the same in the compiled reader as in Python, whatever the bytes; what is not plain is left."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from bench import load
from pipeline.rules import Rules
from pipeline.traits import PLAIN_TRAITS
from tests import compiled
from tests.plain import is_plain
from tests.records import TestRecord, damaged, raw_call
from topics.control import Project
from topics.raw import STAMP_HEADER

compiled.needs("pipeline.dialects.segment_plain")

RULES = Rules([], max_event_bytes=32 * 1024)

TRACK: dict[str, object] = {"type": "track", "event": "E", "anonymousId": "anon-1"}
IDENTIFY: dict[str, object] = {"type": "identify", "anonymousId": "anon-1", "userId": "user-1"}
LIBRARY = {"name": "analytics.js", "version": "4.1.0"}

PLAIN: dict[str, dict[str, object]] = {
    "a track": TRACK,
    "a track of a user": {"type": "track", "event": "E", "userId": "user-1"},
    "an identify": IDENTIFY,
    "with traits": {**IDENTIFY, "traits": {"first_name": "Peter", "last_name": "Gibbons", "n": [1, {"a": None}]}},
    "an e-mail address as user": {**IDENTIFY, "userId": "ann@example.com"},
    "traits of a track": {**TRACK, "traits": {"a": 1}},
    "properties": {**TRACK, "properties": {"a": [1, -2.5, 0, True, False, None, {"b": {}}, []], "": "x"}},
    "escapes in properties": {**TRACK, "properties": {"a": 'quote " slash \\ / \b\f\n\r\t \u2028 é'}},
    "not ASCII": {**TRACK, "event": "Größe 🧵", "anonymousId": "ä-1"},
    "a library": {**TRACK, "context": {"library": LIBRARY, "locale": "en"}},
    "a library without version": {**TRACK, "context": {"library": {"name": "x"}}},
    "a library without name": {**TRACK, "context": {"library": {"version": "1"}}},
    "a session": {**TRACK, "context": {"sessionId": "s-1", "active": True}},
    "an address of its own": {**TRACK, "context": {"ip": "198.51.100.7", "userAgent": "Own/1"}},
    "a channel": {**TRACK, "channel": "server", "context": {"library": LIBRARY}},
    "a channel in the context": {**TRACK, "channel": "server", "context": {"channel": "mobile"}},
    "an empty context": {**TRACK, "context": {}},
    "integrations": {**TRACK, "integrations": {"All": False}},
    "nulls": {**TRACK, "userId": None, "timestamp": None, "groupId": None},
    "empty texts": {**TRACK, "userId": "", "timestamp": "", "context": {"ip": "", "userAgent": None, "sessionId": ""}},
    "what nobody knows": {**TRACK, "_metadata": {"x": [1]}, "writeKey": "k", "name": 7, "category": {}},
    "instants": {**TRACK, "timestamp": "2026-01-01T00:00:00.123Z", "sentAt": "2026-01-01T01:00:01.500499+00:00"},
    "both of its instants": {
        **TRACK,
        "originalTimestamp": "2026-01-01T00:00:00Z",
        "timestamp": "2026-01-02T00:00:00Z",
    },
    "another zone": {**TRACK, "timestamp": "2024-02-29T23:59:59.999501-11:30"},
    "long after its receipt": {**TRACK, "timestamp": "2099-01-01T00:00:00Z"},
}
NOT_PLAIN: dict[str, dict[str, object]] = {
    "a page": {**TRACK, "type": "page"},
    "no type": {"event": "E", "anonymousId": "A"},
    "a track without name": {"type": "track", "anonymousId": "A"},
    "a reserved name": {**TRACK, "event": "$reset"},
    "nobody": {"type": "track", "event": "E"},
    "a number as id": {**TRACK, "userId": 7},
    "an escape in an id": {**TRACK, "userId": 'a"b'},
    "an identify without user": {"type": "identify", "anonymousId": "A"},
    "an identify with properties": {**IDENTIFY, "properties": {"$anon_id": "A", "$identified_id": "U"}},
    "traits in the context": {**IDENTIFY, "context": {"traits": {"a": 1}}},
    "a trait to warn of": {**IDENTIFY, "traits": {"age": "36"}},
    "a previous id": {**TRACK, "previousId": "P"},
    "an unknown channel": {**TRACK, "channel": "pigeon"},
    "two channels": {**TRACK, "channel": "server", "context": {"channel": ""}},
    "an instant that is none": {**TRACK, "timestamp": "yesterday"},
    "the 30th of February": {**TRACK, "timestamp": "2026-02-30T00:00:00Z"},
    "before 1970": {**TRACK, "timestamp": "1969-12-31T23:59:59Z"},
    "a number as instant": {**TRACK, "timestamp": 1_790_000_000},
    "properties that are no object": {**TRACK, "properties": [1]},
    "a library that is none": {**TRACK, "context": {"library": "x"}},
}
STAMPS: dict[str, dict[str, object]] = {
    "of a server": {"key_kind": "secret", "ip": "203.0.113.7", "user_agent": "UA/1"},
    "of a browser": {"ip": "203.0.113.7", "user_agent": "UA/1", "anonymous_id": "made-up"},
    "of a browser without address": {"user_agent": "UA (x; y)"},
    "with an instant": {"sent_at": "2026-01-01T00:00:00.000Z"},
    "of an endpoint": {"call": "track"},
}


def plain_call(name: str, stamp: str) -> TestRecord:
    body = json.dumps(PLAIN[name], ensure_ascii=False).encode()
    call = {"call": PLAIN[name]["type"]} if stamp == "of an endpoint" else STAMPS[stamp]
    return raw_call(body, message_id="m", **call)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("stamp", STAMPS)
def test_plain_calls_are_read_as_in_python(name: str, stamp: str) -> None:
    plain = is_plain(plain_call(name, stamp), RULES)
    # What a client says as empty gives way to what was captured: that is more than to put it in front.
    assert plain == (name != "empty texts" or "browser" not in stamp)


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_python(name: str) -> None:
    assert not is_plain(raw_call(NOT_PLAIN[name]), RULES)


@pytest.mark.parametrize(
    "stamp",
    [
        {"context": b'{"a":1}'},
        {"integrations": b'{"a":1}'},
        {"dialect": "mixpanel"},
        {"message_id": "x" * 101},
        {"message_id": 'quo"te'},
        {"message_id": "ä"},
        {"call": "page"},
        {"sent_at": "yesterday"},
    ],
    ids=str,
)
def test_what_a_stamp_says_more_is_left_to_python(stamp: dict[str, object]) -> None:
    given = {name: Raw(value) if isinstance(value, bytes) else value for name, value in stamp.items()}
    call = {**TRACK, "integrations": {"b": 2}} if "integrations" in given else TRACK
    assert not is_plain(raw_call(call, **given), RULES)  # type: ignore[arg-type]


AROUND = " \t'\u3000 \u00a0"
ZEROS = ["0", "00000000-0000-0000-0000-000000000000", "0" * 40, "-" * 40]
PLACEHOLDERS = ["anonymous", "NOT_AUTHENTICATED", "[object Object]", "un\u212anown", *ZEROS]  # with a Kelvin sign as K


@pytest.mark.parametrize("around", ["", *AROUND, AROUND * 4], ids=ascii)
@pytest.mark.parametrize("placeholder", PLACEHOLDERS, ids=ascii)
@pytest.mark.parametrize("field", ["userId", "anonymousId"])
def test_placeholders_are_left_to_python(field: str, placeholder: str, around: str) -> None:
    body = json.dumps({**IDENTIFY, field: f"{around}{placeholder}{around}"}, ensure_ascii=False)
    assert not is_plain(raw_call(body.encode()), RULES)


@pytest.mark.parametrize(
    "almost", ["not_authenticated0", "8e0bf3f1-0000-4000-a000-000000000010", f"{'0' * 30}a", "ä" * 20]
)
def test_what_is_almost_a_placeholder_is_plain(almost: str) -> None:
    assert is_plain(raw_call(json.dumps({**TRACK, "anonymousId": almost}, ensure_ascii=False).encode()), RULES)


@pytest.mark.parametrize("field", ["userId", "anonymousId"])
def test_what_is_a_placeholder_to_a_project_is_left_to_python(field: str) -> None:
    rules = Rules([Project(id="p", created_at_ms=0, blocked_ids=("Nobody-At-All-And-Longer",))], max_event_bytes=32_768)
    record = raw_call({**IDENTIFY, field: " nobody-at-all-and-longer"})
    assert is_plain(record, RULES)
    assert not is_plain(record, rules)


def test_a_record_without_its_stamp_or_with_more_is_left_to_python() -> None:
    record = raw_call(TRACK)
    for headers in ((), (*record.headers, ("x", b"")), ((STAMP_HEADER, b""),), (("x", record.headers[0][1]),)):
        assert not is_plain(TestRecord(record.value, headers), RULES)
    assert not is_plain(TestRecord(None, record.headers), RULES)
    assert not is_plain(record, Rules([], max_event_bytes=len(record.value or b"") - 1))


def test_whatever_is_loaded_in_a_benchmark_is_plain() -> None:
    records = [TestRecord(value, headers, key) for _, (key, value, _, headers) in load.records(500, 1)]
    assert all(is_plain(record, RULES) for record in records)


@pytest.mark.parametrize("field", ["anonymousId", "userId", "event", "library", "sessionId", "channel"])
def test_the_longest_of_each_fits(field: str) -> None:
    text = "x" * (RULES.max_event_bytes - 400)
    body: dict[str, object] = {**TRACK, "userId": "u", "context": {"library": LIBRARY}}
    if field == "library":
        body["context"] = {"library": {"name": text, "version": "1"}}
    elif field == "sessionId":
        body["context"] = {"sessionId": text}
    else:
        body[field] = text
    assert is_plain(raw_call(body, **STAMPS["of a browser"]), RULES) == (field != "channel")  # type: ignore[arg-type]


instants = st.datetimes(datetime(1969, 1, 1), datetime(2300, 1, 1))
offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(instants, offsets, st.sampled_from(["seconds", "milliseconds", "microseconds"]), instants)
@example(datetime(2000, 2, 29, 23, 59, 59, 999_500), UTC, "microseconds", datetime(1970, 1, 1))
def test_instants_are_those_of_python(happened: datetime, zone: timezone, written: str, sent: datetime) -> None:
    times = {
        "timestamp": happened.replace(tzinfo=zone).isoformat(timespec=written),
        "sentAt": sent.isoformat(timespec=written) + "Z",
    }
    in_range = all(
        0 <= at.timestamp() < 9_999_999_999 for at in (happened.replace(tzinfo=zone), sent.replace(tzinfo=UTC))
    )
    assert is_plain(raw_call({**TRACK, **times}), RULES) or not in_range


@given(st.text("0123456789-:.TZ+ ", max_size=32))
def test_what_looks_like_an_instant_is_one_or_is_left(text: str) -> None:
    is_plain(raw_call({**TRACK, "timestamp": text}), RULES)


@given(st.integers(0, 9_999_999_999_999))
def test_seconds_are_written_as_python_writes_them(received_at_ms: int) -> None:
    assert is_plain(raw_call(TRACK, at_ms=received_at_ms), RULES)


texts = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=4)
contexts = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("ip", "userAgent", "channel", "sessionId", "active", "library"), texts | values),
        "traits": objects,
        "page": objects,
    },
)
RESERVED_TRAITS = [*PLAIN_TRAITS, *(name.upper() for name in PLAIN_TRAITS)]


@given(
    st.dictionaries(
        st.sampled_from(RESERVED_TRAITS) | texts, values | st.sampled_from(["a@b.example", ""]), max_size=4
    ),
    st.sampled_from(["user-1", "ann@example.com", "@"]),
)
def test_traits_come_to_the_same(traits: dict[str, object], user_id: str) -> None:
    is_plain(raw_call({**IDENTIFY, "userId": user_id, "traits": traits}), RULES)


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        (b'{"email":"ann@example.com","age":36,"plan":[1]}', True),
        (b'{"age":null}', True),
        (b'{"age":"36"}', False),
        (b'{"\\u0061ge":"36"}', False),
        (b'{"firstName":"Ann","lastName":"Lee"}', True),
        (b'{"createdAt":"yesterday"}', False),
        (b'{"age":"36","age":36}', True),
        (b'{"age":36,"age":"36"}', False),
    ],
    ids=ascii,
)
def test_traits_that_are_warned_of_are_left_to_python(traits: bytes, expected: bool) -> None:
    body = b'{"type":"identify","anonymousId":"A","userId":"U","traits":%b}' % traits
    assert is_plain(raw_call(body), RULES) == expected


calls = st.fixed_dictionaries(
    {"type": st.sampled_from(["track", "identify", "page", 7])},
    optional={
        **dict.fromkeys(("event", "anonymousId", "userId", "groupId", "timestamp", "sentAt"), texts | values),
        **dict.fromkeys(("properties", "traits", "integrations"), objects | values),
        "context": contexts | values,
    },
)


@given(calls, st.booleans(), st.sampled_from([None, 1]), st.sampled_from(sorted(STAMPS)))
@settings(max_examples=300)
def test_whatever_stands_in_a_call_is_read_as_in_python_or_left(
    call: dict[str, object], ascii_only: bool, indent: int | None, stamp: str
) -> None:
    body = json.dumps(call, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    is_plain(raw_call(body, **STAMPS[stamp]), RULES)  # type: ignore[arg-type]


def test_whatever_bytes_are_broken_are_read_as_in_python_or_left() -> None:
    rng = random.Random(7)
    plain = sum(is_plain(record, RULES) for record in broken(rng, 20_000))
    assert 2_000 < plain < 18_000


def broken(rng: random.Random, count: int) -> Iterator[TestRecord]:
    """Plain records with some bytes of the call or of its stamp taken out, doubled, moved or made others."""
    whole = [plain_call(name, stamp) for name in PLAIN for stamp in STAMPS]
    for _ in range(count):
        record = rng.choice(whole)
        value, (name, header) = record.value or b"", record.headers[0]
        if rng.random() < 0.7:
            value = damaged(rng, value)
        else:
            header = damaged(rng, header)
        yield TestRecord(value, ((name, header),))
