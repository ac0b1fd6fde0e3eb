"""How fast a replay goes through what a live worker went through, as a ratio.

    .venv/bin/python -m bench.replay --events 500000

The same preloaded `events.raw` is drained by one live worker (stitch and sinks together, from its ready file to its
last commit) and replayed, from a start with nothing until it is finished, on the same Kafka and store; the two take
turns. CPU counts all processes but Kafka's, as a replay leaves more to the store.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from bench import load
from bench.ratios import Ratio, in_turn, ratio
from bench.results import Figure
from bench.system import Loaded, System, stored_once, system
from bench.turn import Workers, drained
from broker.control import load_directory
from replay import run
from replay.plan import Asked
from replay.run import Ways
from replay.shadow import open_shadow


@dataclass(frozen=True, slots=True)
class Passed:
    """What one way through cost."""

    events: int
    wall_s: float
    cpu_s: float
    is_right: bool = True

    @property
    def per_s(self) -> float:
        return self.events / self.wall_s if self.is_right else 0.0

    @property
    def per_cpu_s(self) -> float:
        return self.events / self.cpu_s if self.is_right else 0.0

    def row(self, way: str) -> str:
        return (
            f"| {way} | {self.events:,} | {self.wall_s:.1f} | {self.per_s:,.0f} "
            f"| {self.cpu_s:.1f} | {self.per_cpu_s:,.0f} |"
        )


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=500_000)
    arguments.add_argument("--workers", type=int, default=1)
    arguments.add_argument("--pairs", type=int, default=1)
    given = arguments.parse_args()
    lives, replays = _measured(given.events, given.pairs, given.workers)
    print("| way | events | wall s | events / s | CPU s | events / CPU s |\n|---|---|---|---|---|---|")
    for live, again in zip(lives, replays, strict=True):
        print(live.row("live worker"))
        print(again.row(f"replay, {given.workers} worker{'s' * (given.workers > 1)}"))
    by_cpu, by_wall = _ratios(lives, replays)
    print(f"\nreplay / live: {by_wall.median:.2f} by wall, {by_cpu.median:.2f} by CPU")
    return 0


def figures(events: int, pairs: int) -> list[Figure]:
    by_cpu, by_wall = _ratios(*_measured(events, pairs))
    of = f"{events:,} events, {pairs} pair{'s' * (pairs > 1)}; by wall {by_wall.median:.2f}"
    return [Figure.of_ratio("replay", by_cpu, of)]


def _ratios(lives: list[Passed], replays: list[Passed]) -> tuple[Ratio, Ratio]:
    """By CPU, and by wall."""
    return (
        ratio([each.per_cpu_s for each in replays], [each.per_cpu_s for each in lives]),
        ratio([each.per_s for each in replays], [each.per_s for each in lives]),
    )


def _measured(events: int, pairs: int, workers: int = 1) -> tuple[list[Passed], list[Passed]]:
    lives: list[Passed] = []
    replays: list[Passed] = []
    with system() as running:
        loaded = running.preload(events)
        live = partial(_live, running, loaded)
        again = partial(_replayed, running, loaded, workers)
        for pair in in_turn((live, lives), (again, replays), pairs):
            for take_turn, passed in pair:
                running.reset()
                passed.append(take_turn())
    return lives, replays


def _live(running: System, loaded: Loaded) -> Passed:
    events, usage = drained(running, Workers("live worker"))
    return Passed(events, usage.wall_s, usage.cpu_s + usage.store_cpu_s, running.is_right(loaded))


def _replayed(running: System, loaded: Loaded, workers: int) -> Passed:
    with tempfile.TemporaryDirectory(dir=running.folder) as folder:
        configured = running.settings.model_copy(update={"data": Path(folder)})
        directory = asyncio.run(load_directory(configured))
        asked = Asked(load.START_MS, load.START_MS + loaded.events * 1000 // load.EVENTS_A_SECOND + 1)
        began_s, began_cpu_s = time.monotonic(), _cpu_s()
        replay = run.replayer(configured, directory, _unseen).start(asked, Ways(workers))
        wall_s, cpu_s = time.monotonic() - began_s, _cpu_s() - began_cpu_s
        with closing(open_shadow(configured.store, replay.id)) as store:
            return Passed(loaded.events, wall_s, cpu_s, stored_once(store, loaded))


def _cpu_s() -> float:
    """Of this process, those it started and their children. Kafka's is the same for both and is left out."""
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
