"""What a replay costs those who send meanwhile: from an HTTP answer to its row, without and with a replay beside it.

    .venv/bin/python -m bench.replay_beside
    .venv/bin/python -m bench.replay_beside --shares 100,50,25

It runs all of `whipstitch up`, sends a history, and probes as `bench.latency` does: with nothing else to do, and with a
replay of all of that history at work, for each share of a core that it is given (the default, where none is said). They
take turns, so that what else the machine does meets all of them. A replay that ends before the probes do is removed and
begun again.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import urllib3

from bench import latency
from bench.latency import BATCH, SENDERS, Service

_HISTORY_EVENTS = 300_000
_PROBES = 200
_TURNS = 4


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--probes", type=int, default=_PROBES)
    arguments.add_argument("--events", type=int, default=_HISTORY_EVENTS, help="of the history (%(default)s)")
    arguments.add_argument("--shares", default="", metavar="PERCENT,…", help="what `replay start --share` is given")
    given = arguments.parse_args()
    shares = [["--share", share] for share in given.shares.split(",") if share] or [[]]
    cases = [_Case("nothing"), *(_Case(" ".join(["a replay", *share]), share) for share in shares)]
    with tempfile.TemporaryDirectory() as folder, latency._running(Path(folder)) as service:
        history = _sent(service, given.events)
        for turn in range(_TURNS):
            for case in cases:
                with case.beside(Path(folder) / "data", history):
                    case.probe(service, -(-given.probes // _TURNS), turn)
    print("| beside it | probes | p50 s | p99 s | slowest s | replays that ended |\n|---|---|---|---|---|---|")
    print(*cases, sep="\n")
    return 0


@dataclass(slots=True)
class _Case:
    """What goes on beside the probes, and how long they took."""

    name: str
    options: Sequence[str] | None = None
    times: list[float] = field(default_factory=list)
    ended: int = 0

    @contextmanager
    def beside(self, data: Path, history: Sequence[str]) -> Iterator[None]:
        if self.options is None:
            yield
            return
        with _replaying(data, [*history, *self.options]) as replays:
            yield
        self.ended += replays.ended

    def probe(self, service: Service, probes: int, turn: int) -> None:
        for n in range(probes):
            if self.options is not None:
                _await_replay(service)
            name = f"{self.name}-{turn}-{n}".replace(" ", "-")
            self.times.append(latency._probe(service, latency._until_stored, name))

    def __str__(self) -> str:
        times = sorted(self.times)
        p99 = times[min(len(times) - 1, len(times) * 99 // 100)]
        figures = f"{statistics.median(times):.2f} | {p99:.2f} | {times[-1]:.2f}"
        return f"| {self.name} | {len(times)} | {figures} | {self.ended} |"


def _sent(service: Service, events: int) -> list[str]:
    """Send the history, wait until it is stored, and tell its range as `replay start` takes it."""
    began = datetime.now(UTC)
    senders = [latency._sender(service, events // SENDERS, 0.0, seed) for seed in range(SENDERS)]
    for sender in senders:
        sender.join()
    ended = datetime.now(UTC)
    sent = SENDERS * -(-(events // SENDERS) // BATCH) * BATCH
    with urllib3.PoolManager() as http:
        sql = "SELECT count() FROM events WHERE event_name = 'Load'"
        latency._until(lambda: service.ask(http, sql) == str(sent))
    return ["--from", began.isoformat(), "--to", ended.isoformat()]


def _await_replay(service: Service) -> None:
    """Return while one is at work: it has done some, and is not removed yet."""
    with urllib3.PoolManager() as http:
        sql = "SELECT count() > 0 FROM system.tables WHERE name = 'replay_progress' AND total_rows > 0"
        latency._until(lambda: service.ask(http, sql) == "1")


@dataclass(slots=True)
class _Replays:
    """How many have ended."""

    ended: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def _replaying(data: Path, argv: Sequence[str]) -> Iterator[_Replays]:
    """One replay after the other, until the probes are over."""
    replays = _Replays()
    with ThreadPoolExecutor(1) as thread:
        replaying = thread.submit(_replay_again_and_again, data, argv, replays)
        try:
            yield replays
        finally:
            replays.is_over.set()
    replaying.result()


def _replay_again_and_again(data: Path, argv: Sequence[str], replays: _Replays) -> None:
    while not replays.is_over.is_set():
        running = _replay(data, "start", *argv)
        while running.poll() is None and not replays.is_over.wait(latency.POLL_S):
            pass
        if running.poll() is None:
            running.terminate()
        elif running.returncode == 0:
            replays.ended += 1
        else:
            raise SystemExit(f"`whipstitch replay start` ended with {running.returncode}")
        running.wait()
        _replay(data, "abort").wait()


def _replay(data: Path, *argv: str) -> "subprocess.Popen[bytes]":
    environ = {**os.environ, "WHIPSTITCH_DATA": str(data)}
    command = [sys.executable, "-m", "cli.main", "replay", *argv]
    told = subprocess.DEVNULL if argv[0] == "abort" else None  # where there was no replay yet
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=told)


if __name__ == "__main__":
    sys.exit(main())
