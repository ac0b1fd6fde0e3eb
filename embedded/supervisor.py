"""Keeps parts running: starts them side by side, starts again the one that died, stops them in order.

Arrives: parts, each with a way to start it. Leaves: what happened to them, in the order that it happened, in one
inbox. Guarantees: a part that died is started again after a delay that grows; parts are stopped in the reverse of
the order that they were given in, each one's end waited for before the next is asked. What to make of it all
(what to print, when to give up) is the reader's of the inbox.
"""

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from embedded import process as processes
from embedded.errors import EmbeddedError

LONGEST_DELAY_S = 30.0
RECOVERED_AFTER_S = 60.0
LAST_WORDS = 5
STAYS_DOWN = 78  # EX_CONFIG of sysexits.h: what a part ends with that starting it again would not help


class Running(Protocol):
    """A part that has started. `stop` waits for its end, and does no harm where it has ended already."""

    @property
    def process(self) -> subprocess.Popen[bytes]: ...

    def stop(self) -> object: ...


@dataclass(frozen=True, slots=True)
class Part:
    """`start` returns once the part answers, or at once where the part itself says later that it does. It raises
    EmbeddedError where that does not come, and is called again after a death."""

    name: str
    start: Callable[[], Running]
    log_file: Path


@dataclass(frozen=True, slots=True)
class Child:
    """A part that is nothing but a process: SIGTERM, and a kill where that did not end it."""

    process: subprocess.Popen[bytes]
    stop_within_s: float

    def stop(self) -> None:
        processes.stop(self.process, self.stop_within_s)


@dataclass(frozen=True, slots=True)
class Restarts:
    """How long to wait before the next start: 1, 2, 4 … 30 s; from the beginning after a minute of good running."""

    deaths: int = 0

    def died(self, started_at_s: float, now_s: float) -> "Restarts":
        return Restarts(1 if now_s - started_at_s >= RECOVERED_AFTER_S else self.deaths + 1)

    @property
    def delay_s(self) -> float:
        return float(min(LONGEST_DELAY_S, 2 ** (self.deaths - 1))) if self.deaths else 0.0


@dataclass(frozen=True, slots=True)
class Started:
    part: str
    took_s: float


@dataclass(frozen=True, slots=True)
class Died:
    """`retry_in_s` is None where it stays down until somebody has looked."""

    part: str
    code: int
    deaths: int
    retry_in_s: float | None
    last_words: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It did not start, or not in time."""

    part: str
    problem: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Lost:
    """Nobody watches the part any more though nobody asked for that: a bug of ours, whose traceback is on stderr."""

    part: str


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Somebody wants all of it to end (Ctrl-C, SIGTERM)."""


Change = Started | Died | Refused | Lost | StopAsked


class Supervisor:
    """`start` and `stop` are called from one thread, once. `ask_to_stop` and `kill` may come from a signal handler."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.inbox: SimpleQueue[Change] = SimpleQueue()
        self._watches = [_Watch(part, self.inbox) for part in parts]

    @property
    def names(self) -> list[str]:
        return [watch.part.name for watch in self._watches]

    def start(self) -> None:
        for watch in self._watches:
            watch.start()

    def ask_to_stop(self) -> None:
        self.inbox.put(StopAsked())

    def stop(self, say: Callable[[str], None], give_up_after_s: float) -> None:
        """Stop all, last part first; `say` is told each that ended. A part that is still starting gets
        `give_up_after_s` to come to an end of that."""
        for watch in self._watches:
            watch.stopping.set()
        for watch in reversed(self._watches):
            watch.stop(give_up_after_s)
            say(watch.part.name)

    def kill(self) -> None:
        for watch in self._watches:
            watch.kill()


class _Watch(threading.Thread):
    """One part's thread, which lives as long as the part: Linux ends a child when the *thread* that started it ends.
    A daemon, so that a start that hangs cannot keep the program from ending."""

    def __init__(self, part: Part, inbox: SimpleQueue[Change]) -> None:
        super().__init__(name=part.name, daemon=True)
        self.part = part
        self.stopping = threading.Event()
        self._inbox = inbox
        self._running: Running | None = None

    def run(self) -> None:
        try:
            self._keep_running()
        finally:
            if not self.stopping.is_set():
                self._inbox.put(Lost(self.part.name))

    def stop(self, give_up_after_s: float) -> None:
        if running := self._running:
            running.stop()
        self.join(give_up_after_s)

    def kill(self) -> None:
        if running := self._running:
            running.process.kill()

    def _keep_running(self) -> None:
        restarts = Restarts()
        while not self.stopping.is_set():
            began_at_s = time.monotonic()
            try:
                running = self.part.start()
            except EmbeddedError as error:
                restarts = restarts.died(began_at_s, time.monotonic())
                self._inbox.put(Refused(self.part.name, str(error), restarts.delay_s))
            else:
                restarts = self._live(running, restarts, began_at_s)
            self.stopping.wait(restarts.delay_s)

    def _live(self, running: Running, restarts: Restarts, began_at_s: float) -> Restarts:
        """Watch until the part has ended."""
        self._running = running
        self._inbox.put(Started(self.part.name, time.monotonic() - began_at_s))
        if self.stopping.is_set():  # asked while it started: then `stop` saw nothing to stop
            running.stop()
        code = running.process.wait()
        if self.stopping.is_set():
            return restarts
        self._running = None
        running.stop()  # it has gone, but may hold its folder's lock
        restarts = restarts.died(began_at_s, time.monotonic())
        last_words = processes.last_lines(self.part.log_file, LAST_WORDS)
        retry_in_s = restarts.delay_s if code != STAYS_DOWN else None
        self._inbox.put(Died(self.part.name, code, restarts.deaths, retry_in_s, last_words))
        if retry_in_s is None:
            self.stopping.wait()
        return restarts
