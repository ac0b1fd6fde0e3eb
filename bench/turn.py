"""One turn of one side: a process of its own drains the preloaded topic, and what that took is read from outside.

A side that says when it is about to begin and when it is done (`bench/sides`) is read at these two lines. A worker says
neither: it is read from its ready file on, which it writes when its partitions are assigned and its tables recovered
and before its first poll, to the commit of its last record in every topic it reads. Imports and connects are in
neither. What may differ is 10 ms until the file is seen, and up to 0.5 s in which a worker that is done waits for its
next commit, at no CPU.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import psutil

from bench.cpu_share import NoShares, held_to
from bench.meter import Meter, Usage
from bench.system import Loaded, System
from broker.errors import BrokerError
from broker.worker_progress import WorkerProgress
from embedded.process import last_lines
from pipeline import settings
from topics.names import LINKS, MERGES, PERSONS, RAW, REJECTED, STITCHED

ROOT = Path(__file__).parents[1]
_PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
_LONGEST_TURN_S = 900.0
_LONGEST_STANDSTILL_S = 60.0
_READY_WITHIN_S = 60.0
_STOPPED_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.01
# In the order in which the worker is done with them: what is read of a topic may write to those behind it.
_STAGES = ([RAW], [MERGES], [STITCHED, LINKS, MERGES, PERSONS, REJECTED])


class TurnFailed(Exception):
    """A side did not do its turn; the message has the end of what it said. To try again may help."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn came to. `events` are those of `events.raw` that went by."""

    events: int
    usage: Usage
    is_right: bool = True

    @property
    def per_cpu_s(self) -> float:
        return self.events / self.usage.cpu_s if self.is_right else 0.0

    @property
    def per_s(self) -> float:
        return self.events / self.usage.wall_s if self.is_right else 0.0


class Side(Protocol):
    @property
    def name(self) -> str: ...

    def take_turn(self, system: System, loaded: Loaded, group: str) -> Turn:
        """Drain `events.raw` once, after a reset. `group` is its name for what it makes. Raises TurnFailed."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A module of `bench/sides`. `stores` is what it must say that it has put out, or its answer is wrong: a row for
    each event, or for each different one. One that `is_foreign` needs packages that cannot stand beside ours, and runs
    in an environment of its own."""

    name: str
    module: str
    stores: Literal["events", "different", ""] = ""
    is_foreign: bool = False

    def take_turn(self, system: System, loaded: Loaded, group: str) -> Turn:
        configured = system.settings
        asked = {
            "kafka": configured.kafka, "store": configured.store, "group": group,
            "events": loaded.events, "partitions": configured.partitions,
        }  # fmt: skip
        options = [text for name, value in asked.items() for text in (f"--{name}", str(value))]
        python = str(_PEERS_PYTHON) if self.is_foreign else sys.executable
        if not Path(python).exists():
            raise TurnFailed(f"{self.name}: {python} is not there; `make bench` installs it")
        command = [python, "-m", f"bench.sides.{self.module}", *options]
        with _folder(system) as folder, _started(command, folder, {}, is_read=True) as process:
            usage, rows = _between_its_lines(process, Meter([psutil.Process(process.pid)], system))
            if process.wait(_STOPPED_WITHIN_S) or usage is None:
                raise TurnFailed(f"did not do its turn\n{_told(self.name, process, folder)}")
        return Turn(loaded.events, usage, not self.stores or rows == getattr(loaded, self.stores))


@dataclass(frozen=True, slots=True)
class Workers:
    """Worker processes as production runs them, all guarantees on, or by another command in their place. Each may be
    held to a share of a core."""

    name: str
    count: int = 1
    command: tuple[str, ...] = ("-m", "cli.main", "worker")
    cores: float | None = None

    def take_turn(self, system: System, loaded: Loaded, group: str) -> Turn:
        events, usage = drained(system, self)
        return Turn(events, usage, system.is_right(loaded))


@contextmanager
def running_workers(system: System, workers: Workers) -> Iterator[list[psutil.Process]]:
    """Workers that are ready to take their first record. Stopped in order afterwards. Where they do not get on, that is
    raised with the ends of their logs, as TurnFailed."""
    started: list[tuple[subprocess.Popen[str], Path]] = []
    with ExitStack() as ends:
        for _ in range(workers.count):
            folder = ends.enter_context(_folder(system))
            environ = settings.as_environ(system.settings.model_copy(update={"data": folder}))
            command = [sys.executable, *workers.command, "--ready-file", str(folder / "ready")]
            started.append((ends.enter_context(_started(command, folder, environ)), folder))
        try:
            # At once: the first to be ready takes all partitions until the next has joined, seconds later.
            if workers.cores is not None:
                for process, _ in started:
                    ends.enter_context(held_to(workers.cores, process.pid))
            for process, folder in started:
                _wait_ready(process, folder)
            yield [psutil.Process(process.pid) for process, _ in started]
        except (TurnFailed, BrokerError, NoShares) as failed:
            raise TurnFailed("\n".join([str(failed), *(_told(workers.name, *each) for each in started)])) from failed


def drained(system: System, workers: Workers, stages: Sequence[Sequence[str]] = _STAGES) -> tuple[int, Usage]:
    """Run workers until they have committed all. What they used meanwhile, and how many records of the first topic went
    by: of several workers the first to be ready does not wait for the others.

    Raises TurnFailed where they do not get on.
    """
    return asyncio.run(_drained(system, workers, stages))


async def _drained(system: System, workers: Workers, stages: Sequence[Sequence[str]]) -> tuple[int, Usage]:
    async with progress_of(system) as progress:
        raw = await progress.ends(stages[0][:1])
        with running_workers(system, workers) as processes:
            meter = Meter(processes, system)
            meter.begin()
            events = await progress.behind(raw)
            if not events:
                raise TurnFailed("the first worker had done all before the last was ready; give them more events")
            for topics in stages:
                await progress.wait(await progress.ends(topics), _LONGEST_STANDSTILL_S, lambda behind: None)
            return events, meter.end()


@asynccontextmanager
async def progress_of(system: System) -> AsyncIterator[WorkerProgress]:
    progress = WorkerProgress(system.settings)
    await progress.start()
    try:
        yield progress
    finally:
        await progress.stop()


def _between_its_lines(process: "subprocess.Popen[str]", meter: Meter) -> tuple[Usage | None, int]:
    """What it used from `begin` to `end`, None where it did not come to that; and the rows that it put out."""
    rows, usage = 0, None
    assert process.stdout is not None
    too_long = threading.Timer(_LONGEST_TURN_S, process.kill)
    too_long.daemon = True
    too_long.start()
    for line in process.stdout:
        match line.split():
            case ["begin"]:
                meter.begin()
            case ["rows", count]:
                rows = int(count)
            case ["end"]:
                usage = meter.end()
    too_long.cancel()
    return usage, rows


def _wait_ready(process: "subprocess.Popen[str]", folder: Path) -> None:
    deadline_s = time.monotonic() + _READY_WITHIN_S
    while not (folder / "ready").exists():
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise TurnFailed(f"not ready within {_READY_WITHIN_S:g} s")
        time.sleep(_LOOK_EVERY_S)


@contextmanager
def _folder(system: System) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=system.folder, prefix="turn-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _started(
    command: Sequence[str], folder: Path, environ: dict[str, str], *, is_read: bool = False
) -> Iterator["subprocess.Popen[str]"]:
    """A Python process whose temporary files are in `folder`; stopped at the end where it still runs. What it prints
    is read by nobody where it is a worker's: it goes to the log."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environ, "TMPDIR": str(folder)}, cwd=ROOT,
            stdout=subprocess.PIPE if is_read else log, stderr=log, text=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _told(name: str, process: "subprocess.Popen[str]", folder: Path) -> str:
    state = "running" if process.poll() is None else f"ended with code {process.returncode}"
    return f"{name}: {state}; it said:\n{last_lines(folder / 'log')}"
