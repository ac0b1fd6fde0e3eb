"""What a turn uses: CPU-seconds and peak memory of the processes under test, wall time, CPU of Kafka and the store.

CPU counts user and system time of a process, all its threads, and its children, those that have ended among them.
Memory is looked at ten times a second.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from bench.system import System

_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Usage:
    cpu_s: float
    wall_s: float
    peak_mb: int
    broker_cpu_s: float
    store_cpu_s: float


class Meter:
    """Reads between `begin` and `end`, each called once. The processes may have ended by then, but not been waited
    for."""

    def __init__(self, under_test: Sequence[psutil.Process], system: System) -> None:
        self._under_test = under_test
        self._system = system
        self._ended = threading.Event()
        self._peak_bytes = 0
        self._looking = threading.Thread(target=self._look, daemon=True)

    def begin(self) -> None:
        self._before = self._read()
        self._looking.start()

    def end(self) -> Usage:
        after = self._read()
        self._ended.set()
        self._looking.join()
        cpu_s, wall_s, broker_s, store_s = (then - before for then, before in zip(after, self._before, strict=True))
        return Usage(cpu_s, wall_s, self._peak_bytes >> 20, broker_s, store_s)

    def _read(self) -> tuple[float, float, float, float]:
        cpu_s = sum(_cpu_s(process) for process in self._under_test)
        return cpu_s, time.monotonic(), _cpu_s(self._system.kafka), _cpu_s(self._system.store)

    def _look(self) -> None:
        while True:
            self._peak_bytes = max(self._peak_bytes, sum(_bytes(process) for process in self._under_test))
            if self._ended.wait(_LOOK_EVERY_S):
                return


def _cpu_s(process: psutil.Process) -> float:
    own = process.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in process.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue  # its time is among its parent's children's now
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _bytes(process: psutil.Process) -> int:
    try:
        return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0
