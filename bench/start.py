"""How long a worker takes from its start until it has stitched, and what a table of many anonymous ids adds to that.

    .venv/bin/python -m bench.start

The changelog of the identity table is filled with as many ids, each with some facts, as workers leave it; then workers
are started in turn on that and on an empty one, each in a folder of its own. A few events wait in each partition, and
the time is until the last of them is stitched and committed.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Iterable

from bench import load
from bench.identity import owners_value
from bench.ratios import in_turn
from bench.system import System, publish, say, system
from bench.turn import Workers, progress_of, running_workers
from topics.keys import anonymous_key, partition_of, record_key
from topics.names import IDENTITY_CHANGELOG, RAW
from topics.records import Record

_WORKER = Workers("worker")
_FACTS = 3  # of each id
_EVENTS = 1000
_LONGEST_STANDSTILL_S = 300.0


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--ids", type=int, default=1_000_000)
    arguments.add_argument("--pairs", type=int, default=3)
    given = arguments.parse_args()
    times = _measured(given.ids, given.pairs)
    print("| known anonymous ids | until it has stitched, s |\n|---|---|")
    for ids, each in times.items():
        print(f"| {ids:,} | {statistics.median(each):.1f} ({min(each):.1f} to {max(each):.1f}) |")
    return 0


def _measured(ids: int, pairs: int) -> dict[int, list[float]]:
    times: dict[int, list[float]] = {0: [], ids: []}
    with system() as running:
        running.preload(_EVENTS, is_even=True)
        for pair in in_turn(0, ids, pairs):
            for known in pair:
                running.reset()
                asyncio.run(publish(running.settings, IDENTITY_CHANGELOG, _rows(known, running.settings.partitions)))
                times[known].append(asyncio.run(_start_s(running)))
                say(f"{known:,} ids: {times[known][-1]:.1f} s")
    return times


async def _start_s(running: System) -> float:
    async with progress_of(running) as progress:
        waiting, began_s = await progress.ends([RAW]), time.monotonic()
        with running_workers(running, _WORKER):
            await progress.wait(waiting, _LONGEST_STANDSTILL_S, lambda behind: None)
            return time.monotonic() - began_s


def _rows(ids: int, partitions: int) -> Iterable[tuple[int, Record]]:
    value = owners_value(_FACTS)
    for n in range(ids):
        anonymous_id = f"8e0bf3f1-0000-4000-a000-{n:012d}"
        partition = partition_of(record_key(load.PROJECT, anonymous_id, None, "") or b"", partitions)
        yield partition, (anonymous_key(load.PROJECT, anonymous_id), value, load.START_MS, ())


if __name__ == "__main__":
    sys.exit(main())
