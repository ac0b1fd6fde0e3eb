"""How fast a replay goes through what a live worker went through, as a ratio.

    .venv/bin/python -m bench.replay --events 100000

The same preloaded `events.raw` is drained by one live worker (stitch and sinks together, from its first commit to its
last) and then replayed, from a start with nothing until it is finished, on the same Kafka and store. CPU counts all
processes but Kafka's.
"""

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import drain, load
from broker.control import load_directory
from broker.worker_progress import WorkerProgress
from pipeline.settings import Settings, as_environ
from replay import run
from replay.plan import Asked
from replay.run import Ways
from topics.names import LINKS, MERGES, RAW, REJECTED, STITCHED

_LONGEST_STANDSTILL_S = 120.0


@dataclass(frozen=True, slots=True)
class Passed:
    """What one way through cost."""

    way: str
    events: int
    wall_s: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        return self.events / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        return self.events / self.cpu_s

    def __str__(self) -> str:
        return (
            f"| {self.way} | {self.events:,} | {self.wall_s:.1f} | {self.per_s:,.0f} "
            f"| {self.cpu_s:.1f} | {self.per_cpu_s:,.0f} |"
        )


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=100_000)
    arguments.add_argument("--workers", type=int, default=1)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, drain._system(Path(folder)) as configured:
        asyncio.run(drain._preload(configured, given.events))
        live = _live(configured, given.events)
        again = _replayed(configured, given.events, given.workers)
    print("| way | events | wall s | events / s | CPU s | events / CPU s |\n|---|---|---|---|---|---|")
    print(live)
    print(again)
    print(f"\nreplay / live: {again.per_s / live.per_s:.2f} by wall, {again.per_cpu_s / live.per_cpu_s:.2f} by CPU")
    return 0


def _live(configured: Settings, events: int) -> Passed:
    worker = multiprocessing.get_context("spawn").Process(
        target=drain._work, args=(as_environ(configured), {"stitch": True, "sink": True})
    )
    watch = _Watch()
    worker.start()
    asyncio.run(_wait(configured, events, watch))
    passed = watch.passed("live worker", watch.left_at_begin)
    worker.terminate()
    worker.join()
    return passed


def _replayed(configured: Settings, events: int, workers: int) -> Passed:
    directory = asyncio.run(load_directory(configured))
    asked = Asked(load.START_MS, load.START_MS + events * 1000 // load.EVENTS_A_SECOND + 1)
    watch = _Watch()
    watch.begin(events)
    run.replayer(configured, directory, _unseen).start(asked, Ways(workers))
    return watch.passed(f"replay, {workers} worker{'s' if workers > 1 else ''}", events)


async def _wait(configured: Settings, events: int, watch: "_Watch") -> None:
    """The watch begins with the worker's first commit."""

    def told(left: int) -> None:
        if left < events and not watch.left_at_begin:
            watch.begin(left)

    progress = WorkerProgress(configured)
    await progress.start()
    try:
        for topics in ([RAW], [STITCHED, LINKS, MERGES, REJECTED]):
            await progress.wait(await progress.ends(topics), _LONGEST_STANDSTILL_S, told)
    finally:
        await progress.stop()


@dataclass(slots=True)
class _Watch:
    """Time, and CPU time of this process, those it started and their children."""

    left_at_begin: int = 0
    began_s: float = 0.0
    began_cpu_s: float = 0.0

    def begin(self, left: int) -> None:
        self.left_at_begin, self.began_s, self.began_cpu_s = left, time.monotonic(), _cpu_s()

    def passed(self, way: str, events: int) -> Passed:
        return Passed(way, events, time.monotonic() - self.began_s, _cpu_s() - self.began_cpu_s)


def _cpu_s() -> float:
    """Kafka's is the same for both and is left out."""
    mine = psutil.Process()
    own = mine.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in mine.children(recursive=True):
        times = child.cpu_times()
        total += 0.0 if child.name().startswith("java") else times.user + times.system
    return total


@contextmanager
def _unseen(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    yield lambda more: None


if __name__ == "__main__":
    sys.exit(main())
