"""Drains a preloaded `events.raw`, the stitch agent and the sink apart, and says what each costs.

    .venv/bin/python -m bench.drain --events 500000

Events per CPU-second of the worker process, all its threads, from its ready file to its last commit. Nothing else runs
meanwhile but Kafka and the store. At the end the promise is checked: each distinct message is stored once.
"""

import argparse
import sys
from pathlib import Path

from agents.worker import run
from bench.results import Cost, Figure
from bench.system import System, system
from bench.turn import Turn, Workers, drained
from pipeline import settings
from topics.names import LINKS, RAW, REJECTED, STITCHED

_STITCH = Workers("stitch agent", command=("-m", "bench.drain", "--half", "stitch"))
_SINK = Workers("sink agents", command=("-m", "bench.drain", "--half", "sink"))


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=500_000)
    arguments.add_argument("--half", choices=("stitch", "sink"), help=argparse.SUPPRESS)
    arguments.add_argument("--ready-file", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.half:
        return run(settings.load(), given.ready_file, stitch=given.half == "stitch", sink=given.half == "sink")
    stitch, sink = _measured(given.events)
    print("| half | events | events / CPU s | events / s | peak MB |\n|---|---|---|---|---|")
    for name, turn in ((_STITCH.name, stitch), (_SINK.name, sink)):
        cost = Cost.of(name, [turn])
        print(f"| {name} | {cost.events:,} | {cost.per_cpu_s:,.0f} | {cost.per_s:,.0f} | {cost.peak_mb:.0f} |")
    print("\neach message is stored once: " + ("right" if sink.is_right else "WRONG"))
    return 0 if sink.is_right else 1


def figures(events: int) -> list[Figure]:
    stitch, sink = _measured(events)
    ratio = stitch.per_cpu_s / sink.per_cpu_s if sink.is_right else 0.0
    return [Figure("halves", ratio, of=f"{events:,} events, once")]


def _measured(events: int) -> tuple[Turn, Turn]:
    with system() as running:
        loaded = running.preload(events)
        stitch = _half(running, _STITCH, [RAW])
        sink = _half(running, _SINK, [STITCHED, LINKS, REJECTED])
        return stitch, Turn(sink.events, sink.usage, running.is_right(loaded))


def _half(running: System, half: Workers, topics: list[str]) -> Turn:
    events, usage = drained(running, half, [topics])
    return Turn(events, usage)


if __name__ == "__main__":
    sys.exit(main())
