"""What identity costs in the worker: a link in the hot path, and the memory of a known anonymous id.

    .venv/bin/python -m bench.identity

Batches of one kind of event each are decided in turn; the ratio is CPU time against a track of an id that nobody
knows. Memory is that of a fresh process, before and after its identity table was filled.
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson
import psutil

from bench import load
from bench.ratios import ratio
from bench.results import Figure
from pipeline.dedupe import SeenIds
from pipeline.rules import Rules
from pipeline.stitch import decide
from topics.keys import anonymous_key, record_key
from topics.names import RAW
from topics.raw import Stamp, stamp_header
from topics.records import Headers, RawRecord

BATCH = 2000
MOST_FACTS = 16  # that a worker keeps of an id
RULES = Rules([], max_event_bytes=32 * 1024)
Owners = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Record:
    """A record as a consumer hands it out."""

    key: bytes
    value: bytes
    headers: Headers
    timestamp: int
    topic: str = RAW
    partition: int = 0
    offset: int = 0


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--turns", type=int, default=15)
    arguments.add_argument("--ids", type=int, default=1_000_000)
    given = arguments.parse_args()
    _report_cost(given.turns)
    _report_memory(given.ids)
    return 0


def figures(turns: int) -> list[Figure]:
    kinds = {"track": (_calls("track"), False), "identify": (_calls("identify", has_user=True), False)}
    track, identify = _costs(kinds, turns).values()
    return [Figure.of_ratio("identify", ratio(identify, track), f"{BATCH:,} events, {turns} turns")]


def _report_cost(turns: int) -> None:
    kinds = {
        "track of an id that nobody knows": (_calls("track"), False),
        "track of a known id": (_calls("track"), True),
        "track with both ids": (_calls("track", has_user=True), True),
        "first identify of an id": (_calls("identify", has_user=True), False),
        "identify of a known id": (_calls("identify", has_user=True), True),
    }
    costs = _costs(kinds, turns)
    print("| event | µs | to the first |\n|---|---|---|")
    [plain, *_] = costs.values()
    for name, each in costs.items():
        ratio = statistics.median(one / other for one, other in zip(each, plain, strict=True))
        print(f"| {name} | {statistics.median(each):.1f} | {ratio:.2f} |")


def _costs(kinds: Mapping[str, tuple[Sequence[RawRecord], bool]], turns: int) -> dict[str, list[float]]:
    """µs an event, turn by turn."""
    known = _known_owners()
    costs: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(turns):
        for name, (records, is_known) in kinds.items():
            costs[name].append(_cost_us(records, known if is_known else {}))
    return costs


def _report_memory(ids: int) -> None:
    print(f"\n| facts kept of each of {ids:,} ids | bytes an id |\n|---|---|")
    for facts in (1, 3, MOST_FACTS):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(f"| {facts} | {pool.apply(_bytes_an_id, (ids, facts)):.0f} |", flush=True)


def _bytes_an_id(ids: int, facts: int) -> float:
    """Of a table as a worker's memory holds it."""
    process, value = psutil.Process(), owners_value(facts)
    before = process.memory_info().rss
    owners = {
        anonymous_key(load.PROJECT, f"8e0bf3f1-0000-4000-a000-{n:012d}"): bytes(bytearray(value)) for n in range(ids)
    }
    return (process.memory_info().rss - before) / len(owners)


def _known_owners() -> Owners:
    value = owners_value(MOST_FACTS)
    return {record.key: value for record in _calls("track")}


def owners_value(facts: int) -> bytes:
    """What the table holds of an id after as many identifies, an hour apart."""
    owners: Owners = {}
    for n in range(facts):
        call: dict[str, object] = {"type": "identify", "anonymousId": "a", "userId": "user-1", "messageId": f"fact-{n}"}
        decision = decide([_record(n * 3600, call)], SeenIds(60), owners, RULES)
        owners = {key: value for key, value in decision.owners.items() if value is not None}
    [value] = owners.values()
    return value


def _cost_us(records: Sequence[RawRecord], owners: Owners) -> float:
    seen = SeenIds(86_400)
    began_s = time.process_time()
    decide(records, seen, owners, RULES)
    return (time.process_time() - began_s) * 1e6 / len(records)


def _calls(type_: str, *, has_user: bool = False) -> list[Record]:
    return list(_records(type_, has_user))


def _records(type_: str, has_user: bool) -> Iterator[Record]:
    """The same bodies for each kind, but for their ids."""
    plain = [call for _, call in load.events(200) if call["type"] == "track"]
    for n in range(BATCH):
        ids: dict[str, object] = {"anonymousId": f"anonymous-{n}", "messageId": f"{type_}-{n}"}
        if has_user:
            ids["userId"] = f"user-{n}"
        yield _record(100_000 + n, {**plain[n % len(plain)], **ids, "type": type_})


def _record(second: int, call: dict[str, object]) -> Record:
    at_ms = load.START_MS + second * 1000
    stamp = Stamp(load.PROJECT, str(call["messageId"]), at_ms)
    key = record_key(load.PROJECT, str(call["anonymousId"]), None, "")
    return Record(key, orjson.dumps(call), (stamp_header(stamp),), at_ms)


if __name__ == "__main__":
    sys.exit(main())
