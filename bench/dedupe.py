"""What a remembered id takes in memory, and what dedupe costs an event, where few ids are remembered and where many.

    .venv/bin/python -m bench.dedupe

Each row is a process of its own. Ids come in batches, 5 % of them for the second time, at the pace at which a window
of 24 hours holds so many. What is measured comes after more than a window: ids are forgotten as fast as they come. At
the end it is checked that the ids of the last hour are known, and that as many others are not.
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
from pipeline.dedupe import SeenIds, id_text, seen_ids
from pipeline.receipts import Receipts

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
    hash_us: float
    dedupe_us: float
    right: bool

    @property
    def event_us(self) -> float:
        return self.hash_us + self.dedupe_us

    def __str__(self) -> str:
        return (
            f"| {self.ids:,} | {self.held:,} | {self.memory_bytes / self.ids:.1f} | {self.mapped_bytes / self.ids:.1f} "
            f"| {self.disk_bytes / self.ids:.1f} | {self.dedupe_us:.2f} | {self.event_us:.2f} "
            f"| {'right' if self.right else 'WRONG'} |"
        )


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--many", type=int, default=MANY)
    print(
        "| ids in the window | held | memory, bytes an id | of it mapped files | disk, bytes an id "
        "| µs an event | with hashing its id | answers |\n|---|---|---|---|---|---|---|---|"
    )
    few, many = (_in_a_process(ids) for ids in (FEW, arguments.parse_args().many))
    for cost in (few, many):
        print(cost, flush=True)
    print("\n| µs an event, many ids / few | ratio |\n|---|---|")
    print(f"| dedupe alone | {many.dedupe_us / few.dedupe_us:.2f} |")
    print(f"| with hashing its id | {many.event_us / few.event_us:.2f} |")
    return 0 if few.right and many.right else 1


def figures(many: int, counted: int = LEAST_COUNTED) -> list[Figure]:
    """`counted` events at least are measured."""
    more = _in_a_process(many, counted)
    return [Figure("memory", more.memory_bytes / more.ids, of=f"{many:,} ids in the window", is_right=more.right)]


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
        hash_s, dedupe_s = _run(seen, _batches(ids, filling, counted))
        after = psutil.Process().memory_info()
        return Cost(
            ids=ids,
            held=len(seen),
            memory_bytes=after.rss - before.rss,
            mapped_bytes=after.shared - before.shared,
            disk_bytes=sum(file.stat().st_size for file in Path(folder).iterdir()),
            hash_us=hash_s * 1e6 / counted,
            dedupe_us=dedupe_s * 1e6 / counted,
            right=_is_right(seen, _batches(ids, filling, counted)),
        )


def _batches(ids: int, start: int, count: int) -> Batches:
    """The batches of the events from `start` on."""
    for first in range(start, start + count, BATCH):
        yield batch(ids, first // BATCH)


def batch(ids: int, number: int) -> tuple[list[str], list[float]]:
    """The message ids of a batch's events, and when they were received: `ids` of them in a window."""
    pick = random.Random(number)
    pace_s = WINDOW_S * (1 - REPEATS) / ids
    events = range(number * BATCH, (number + 1) * BATCH)
    sent = [n if pick.random() >= REPEATS else pick.randrange(max(0, n - ids), n + 1) for n in events]
    return [_message_id(n) for n in sent], [START_S + round(n * pace_s, 3) for n in events]


def _run(seen: SeenIds, batches: Batches) -> tuple[float, float]:
    """The CPU-seconds of hashing all ids, and of dedupe."""
    hash_s = dedupe_s = 0.0
    for each in batches:
        hashing_s, deduping_s = take_in(seen, *each)
        hash_s, dedupe_s = hash_s + hashing_s, dedupe_s + deduping_s
    return hash_s, dedupe_s


def take_in(seen: SeenIds, message_ids: list[str], received_at: list[float]) -> tuple[float, float]:
    """Take a batch in as the stitch agent does. The CPU-seconds of hashing its ids, and of dedupe."""
    begin = time.process_time()
    receipts = _receipts(load.PROJECT, message_ids, received_at)
    hashed = time.process_time()
    seen.remember_new(receipts.where(seen.known(receipts) == 0))
    return hashed - begin, time.process_time() - hashed


def _is_right(seen: SeenIds, batches: Batches) -> bool:
    taken = list(batches)
    last_hour = [each for each in taken if each[1][0] > taken[-1][1][-1] - 3600]
    return all(
        seen.known(_receipts(load.PROJECT, message_ids, received_at)).all()
        and not seen.known(_receipts("other", message_ids, received_at)).any()
        for message_ids, received_at in last_hour
    )


def _receipts(project_id: str, message_ids: list[str], received_at: list[float]) -> Receipts:
    return Receipts.of(seen_ids([id_text(project_id, message_id) for message_id in message_ids]), received_at)


def _message_id(n: int) -> str:
    return f"ajs-{n:08x}-{hashlib.md5(b'%d' % n).hexdigest()[:16]}"


if __name__ == "__main__":
    sys.exit(main())
