"""A load that looks like what comes: mostly 0.5 KB, some of 2 and 8 KB, 20 % identify, 5 % duplicates, Zipf ids.

The same seed gives the same events.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson

from topics.keys import partition_of, record_key
from topics.raw import Stamp, stamp_header
from topics.records import Record

PROJECT = "bench"
START_MS = 1_790_000_000_000
EVENTS_A_SECOND = 5_000  # by their receipt: 500,000 events span 100 s, within any dedupe window

_CONTEXT = {
    "library": {"name": "analytics.js", "version": "4.1.0"},
    "page": {"path": "/pricing", "url": "https://shop.example/pricing", "title": "Pricing"},
    "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
    "locale": "en-US",
}


def events(
    count: int, seed: int = 1, people: int = 50_000, *, is_even: bool = False
) -> Iterator[tuple[str, dict[str, object]]]:
    """(anonymous id, call) of `count` calls. Where it `is_even`, each person does as much as any other."""
    pick = random.Random(seed)
    recent: list[tuple[str, dict[str, object]]] = []
    for n in range(count):
        if recent and pick.random() < 0.05:
            yield pick.choice(recent)
            continue
        person = pick.randrange(people) if is_even else int(pick.paretovariate(0.7)) % people
        anonymous_id = f"8e0bf3f1-0000-4000-a000-{person:012d}"
        call = _call(pick, n, anonymous_id, person)
        recent = [*recent[-99:], (anonymous_id, call)]
        yield anonymous_id, call


def records(count: int, partitions: int, seed: int = 1, *, is_even: bool = False) -> Iterator[tuple[int, Record]]:
    """The same as records of `events.raw`, each with its partition."""
    for n, (anonymous_id, call) in enumerate(events(count, seed, is_even=is_even)):
        made = record(anonymous_id, call, _received_at_ms(n))
        yield partition_of(made[0] or b"", partitions), made


def record(anonymous_id: str, call: dict[str, object], received_at_ms: int) -> Record:
    """A call as the ingress publishes it."""
    stamp = Stamp(PROJECT, str(call["messageId"]), received_at_ms, ip="203.0.113.7")
    key = record_key(PROJECT, anonymous_id, None, "")
    return key, orjson.dumps(call), received_at_ms, (stamp_header(stamp),)


def _received_at_ms(n: int) -> int:
    return START_MS + n * 1000 // EVENTS_A_SECOND


def _written(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec='milliseconds')[:-6]}Z"


def _call(pick: random.Random, n: int, anonymous_id: str, person: int) -> dict[str, object]:
    sent_at_ms = _received_at_ms(n) - pick.randrange(20, 200)
    call: dict[str, object] = {
        "messageId": f"ajs-{n:08x}-{pick.getrandbits(64):016x}",
        "anonymousId": anonymous_id,
        "timestamp": _written(sent_at_ms - pick.randrange(3000)),
        "sentAt": _written(sent_at_ms),
        "context": _CONTEXT,
    }
    if pick.random() < 0.2:
        return {**call, "type": "identify", "userId": f"user-{person}", "traits": {"plan": "pro", "logins": n}}
    padding = pick.choices((40, 1500, 7500), weights=(94, 5, 1))[0]
    properties = {"plan": "free", "price": 12.5, "n": n, "tags": ["a", "b"], "note": "x" * padding}
    return {**call, "type": "track", "event": pick.choice(("Viewed", "Added", "Ordered")), "properties": properties}
