"""What a replay costs those who send meanwhile: from an HTTP answer to its row, without and with a replay beside it.

    .venv/bin/python -m bench.replay_beside
    .venv/bin/python -m bench.replay_beside --shares 100,50,25

It runs all of `whipstitch up`, sends a history, and probes as `bench.latency` does: with nothing else to do, and with a
replay of all of that history at work, for each share of a core that it is given (the default, where none is said). A
replay that ends before the probes do is removed and begun again.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import urllib3

from bench import latency
from bench.latency import BATCH, SENDERS, Service

_HISTORY_EVENTS = 300_000
_PROBES = 200


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--probes", type=int, default=_PROBES)
    arguments.add_argument("--events", type=int, default=_HISTORY_EVENTS, help="of the history (%(default)s)")
    arguments.add_argument("--shares", default="", metavar="PERCENT,…", help="what `replay start --share` is given")
    given = arguments.parse_args()
    shares = [["--share", share] for share in given.shares.split(",") if share] or [[]]
    with tempfile.TemporaryDirectory() as folder, latency._running(Path(folder)) as service:
        history = _sent(service, given.events)
        print("| beside it | probes | p50 s | p99 s | slowest s | replayed / s |\n|---|---|---|---|---|---|")
        print(_row("nothing", _probed(service, given.probes, "alone")), flush=True)
        for share in shares:
            with _replaying(Path(folder) / "data", [*history, *share]) as replays:
                times = _probed(service, given.probes, f"beside{''.join(share)}")
            per_s = round(given.events * replays.ended / replays.passed_s) if replays.ended else 0
            print(_row(" ".join(["a replay", *share]), times, f"{per_s:,}" if per_s else "none ended"), flush=True)
    return 0


def _row(beside: str, times: Sequence[float], per_s: str = "") -> str:
    p99 = times[min(len(times) - 1, len(times) * 99 // 100)]
    figures = f"{statistics.median(times):.2f} | {p99:.2f} | {times[-1]:.2f}"
    return f"| {beside} | {len(times)} | {figures} | {per_s} |"


def _probed(service: Service, probes: int, name: str) -> list[float]:
    return sorted(latency._probe(service, latency._until_stored, f"{name}-{n}") for n in range(probes))


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


@dataclass(slots=True)
class _Replays:
    """How many have ended, and the time that those took."""

    ended: int = 0
    passed_s: float = 0.0
    is_over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def _replaying(data: Path, argv: Sequence[str]) -> Iterator[_Replays]:
    """One replay after the other, until the probes are over."""
    replays = _Replays()
    thread = threading.Thread(target=_replay_again_and_again, args=(data, argv, replays))
    thread.start()
    try:
        yield replays
    finally:
        replays.is_over.set()
        thread.join()


def _replay_again_and_again(data: Path, argv: Sequence[str], replays: _Replays) -> None:
    while not replays.is_over.is_set():
        began_s = time.monotonic()
        running = _replay(data, "start", *argv)
        while running.poll() is None and not replays.is_over.wait(latency.POLL_S):
            pass
        if running.poll() is None:
            running.terminate()
        elif running.returncode == 0:
            replays.ended += 1
            replays.passed_s += time.monotonic() - began_s
        elif running.returncode is not None:
            raise SystemExit(f"`whipstitch replay start` ended with {running.returncode}")
        running.wait()
        _replay(data, "abort").wait()


def _replay(data: Path, *argv: str) -> "subprocess.Popen[bytes]":
    environ = {**os.environ, "WHIPSTITCH_DATA": str(data)}
    command = [sys.executable, "-m", "cli.main", "replay", *argv]
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
