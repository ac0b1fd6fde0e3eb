"""What a remembered id takes in memory, and what an event costs, where few ids are remembered and where many.

    .venv/bin/python -m bench.dedupe

Each row is a process of its own. Ids come in batches, 5 % of them for the second time, at the pace at which a window
of 24 hours holds so many. What is measured comes after more than a window: ids are forgotten as fast as they come.
First dedupe alone, then the stitch agent's whole decision over calls with such ids. Between them it is checked that the
ids of the last hour are known, and that as many others are not.
"""

import argparse
import hashlib
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import load
from bench.results import Figure
from pipeline.dedupe import SeenIds, seen_id
from pipeline.rules import Rules
from pipeline.stitch import decide
from topics.names import RAW
from topics.records import PlacedRecord

WINDOW_S = 86_400
START_S = 1_790_000_000.0
BATCH = 2_000
REPEATS = 0.05
FEW, MANY = 100_000, 10_000_000
LEAST_COUNTED = 500_000

Batches = Iterator[tuple[list[str], list[float]]]


@dataclass(frozen=True, slots=True)
class Cost:
    """`ids` were received within the last window, of `held`. `mapped_bytes` are those of `memory_bytes` that are pages
    of files, which the system takes back when it needs memory."""

    ids: int
    held: int
    memory_bytes: int
    mapped_bytes: int
    disk_bytes: int
    dedupe_us: float
    decision_us: float
    right: bool

    def __str__(self) -> str:
        return (
            f"| {self.ids:,} | {self.held:,} | {self.memory_bytes / self.ids:.1f} | {self.mapped_bytes / self.ids:.1f} "
            f"| {self.disk_bytes / self.ids:.1f} | {self.dedupe_us:.2f} | {self.decision_us:.2f} "
            f"| {'right' if self.right else 'WRONG'} |"
        )


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--many", type=int, default=MANY)
    print(
        "| ids in the window | held | memory, bytes an id | of it mapped files | disk, bytes an id "
        "| dedupe alone, µs an event | the whole decision | answers |\n|---|---|---|---|---|---|---|---|"
    )
    few, many = (_in_a_process(ids) for ids in (FEW, arguments.parse_args().many))
    for cost in (few, many):
        print(cost, flush=True)
    print("\n| µs an event, many ids / few | ratio | good | reach |\n|---|---|---|---|")
    print(f"| dedupe alone | {many.dedupe_us / few.dedupe_us:.2f} | 1.5 | 1.1 |")
    print(f"| the whole decision | {many.decision_us / few.decision_us:.2f} | 1.5 | 1.1 |")
    return 0 if few.right and many.right else 1


def figures(many: int, counted: int = LEAST_COUNTED) -> list[Figure]:
    """`counted` events at least are measured of each."""
    less, more = _in_a_process(FEW, counted), _in_a_process(many, counted)
    right = less.right and more.right
    dedupe, decision = more.dedupe_us / less.dedupe_us, more.decision_us / less.decision_us
    of = f"a decision, {many:,} ids to {FEW:,}; of dedupe alone {dedupe:.3g}"
    return [
        Figure("memory", more.memory_bytes / more.ids, of=f"{many:,} ids in the window", is_right=right),
        Figure("many_ids", decision, of=of, is_right=right),
    ]


def _in_a_process(ids: int, least_counted: int = LEAST_COUNTED) -> Cost:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (ids, least_counted))


def _measured(ids: int, least_counted: int) -> Cost:
    filling, counted = ids + ids // 2, max(ids // 4, least_counted)
    with tempfile.TemporaryDirectory() as folder:
        _run(SeenIds(WINDOW_S), _batches(ids, 0, 5 * BATCH))  # what is made once is no part of it
        before = psutil.Process().memory_info()
        seen = SeenIds(WINDOW_S, Path(folder))
        seen.position = 0
        _run(seen, _batches(ids, 0, filling))
        dedupe_s = _run(seen, _batches(ids, filling, counted))
        after = psutil.Process().memory_info()
        right = _is_right(seen, _batches(ids, filling, counted))
        decision_s = _decide(seen, _batches(ids, filling + counted, counted))
        return Cost(
            ids=ids,
            held=len(seen),
            memory_bytes=after.rss - before.rss,
            mapped_bytes=after.shared - before.shared,
            disk_bytes=sum(file.stat().st_size for file in Path(folder).iterdir()),
            dedupe_us=dedupe_s * 1e6 / counted,
            decision_us=decision_s * 1e6 / counted,
            right=right,
        )


def _batches(ids: int, start: int, count: int) -> Batches:
    """The message ids of the events from `start` on, and when they were received."""
    pick = random.Random(start)
    pace_s = WINDOW_S * (1 - REPEATS) / ids
    for first in range(start, start + count, BATCH):
        events = range(first, min(first + BATCH, start + count))
        sent = [n if pick.random() >= REPEATS else pick.randrange(max(0, n - ids), n + 1) for n in events]
        yield [_message_id(n) for n in sent], [START_S + round(n * pace_s, 3) for n in events]


def _run(seen: SeenIds, batches: Batches) -> float:
    """Take ids in as the stitch agent does. The CPU-seconds of it, without hashing them."""
    spent_s = 0.0
    for message_ids, received_at in batches:
        ids = [seen_id(load.PROJECT, message_id) for message_id in message_ids]
        begin = time.process_time()
        known = seen.known(ids, received_at)
        claimed = {ids[row]: received_at[row] for row, is_known in enumerate(known) if not is_known}
        seen.remember_new(list(claimed), list(claimed.values()))
        spent_s += time.process_time() - begin
    return spent_s


def _decide(seen: SeenIds, batches: Batches) -> float:
    """Decide about calls with these ids, and remember it. The CPU-seconds of it."""
    rules, owners, spent_s = Rules([], max_event_bytes=32 * 1024), dict[bytes, bytes](), 0.0
    for message_ids, received_at in batches:
        records = _records(message_ids, received_at)
        begin = time.process_time()
        decision = decide(records, seen, owners, rules)
        seen.remember_new(list(decision.claimed), list(decision.claimed.values()))
        spent_s += time.process_time() - begin
        owners.update((key, value) for key, value in decision.owners.items() if value is not None)
    return spent_s


def _records(message_ids: list[str], received_at: list[float]) -> list[PlacedRecord]:
    calls = load.events(len(message_ids), seed=round(received_at[0]))
    records = []
    for message_id, at, (anonymous_id, call) in zip(message_ids, received_at, calls, strict=True):
        key, value, at_ms, headers = load.record(anonymous_id, {**call, "messageId": message_id}, round(at * 1000))
        records.append(PlacedRecord(RAW, 0, 0, at_ms, key, value, headers))
    return records


def _is_right(seen: SeenIds, batches: Batches) -> bool:
    taken = list(batches)
    last_hour = [batch for batch in taken if batch[1][0] > taken[-1][1][-1] - 3600]
    return all(
        all(seen.known([seen_id(load.PROJECT, message_id) for message_id in message_ids], received_at))
        and not any(seen.known([seen_id("other", message_id) for message_id in message_ids], received_at))
        for message_ids, received_at in last_hour
    )


def _message_id(n: int) -> str:
    return f"ajs-{n:08x}-{hashlib.md5(b'%d' % n).hexdigest()[:16]}"


if __name__ == "__main__":
    sys.exit(main())
