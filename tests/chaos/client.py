"""Clients under load: each request is sent again until it is answered or its client gives up, and what was answered
is written down.

`answered` is the promise that a run is held to. What was given up may or may not be stored.
"""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

from tests.chaos.traffic import Request, Traffic
from tests.fuzz.client import Connection

_CONNECTIONS = 12
_MOST_TRIES = 20
_RETRY_S = (0.05, 1.0)
_AGAIN_WITHIN_REQUESTS = 300

Id = tuple[str, str]
"""A project and a messageId."""


@dataclass
class Ledger:
    """Each id with the number of the fault that was the last when it was first sent."""

    sent: dict[Id, int] = field(default_factory=dict)
    answered: set[Id] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)

    def will_send(self, ids: Iterable[Id], fault: int) -> None:
        for id in ids:
            self.sent.setdefault(id, fault)

    def was_answered(self, ids: Iterable[Id], status: int) -> None:
        """`status` 0: no answer came."""
        self.statuses[status] += 1
        if 200 <= status < 300:
            self.answered.update(ids)

    @property
    def unexpected(self) -> Counter[int]:
        """Answers that nobody may get who does nothing wrong."""
        return Counter({status: n for status, n in self.statuses.items() if status not in (0, 200, 503)})


class Clients:
    """Sends from a thread of its own between `start` and `stop`. `fault` and `duplicates` (the share of requests that
    is sent once more, some time later) may be changed meanwhile."""

    def __init__(self, port: int, traffic: Traffic, ledger: Ledger, requests_per_s: float) -> None:
        self.fault = 0
        self.duplicates = 0.01
        self._port = port
        self._traffic = traffic
        self._ledger = ledger
        self._interval_s = 1 / requests_per_s
        self._pick = Random(f"clients {traffic.seed}")
        self._again: deque[Request] = deque()
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(1, "clients")
        self._running: Future[None] | None = None

    def start(self) -> None:
        self._running = self._thread.submit(lambda: asyncio.run(self._run()))

    def stop(self) -> None:
        """Begin nothing new, and return once every request has its answer or was given up."""
        self._stopping.set()
        if self._running is not None:
            self._running.result()
        self._thread.shutdown()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(_CONNECTIONS):
                group.create_task(self._one_connection())

    async def _one_connection(self) -> None:
        connection = Connection(self._port)
        due_s = time.monotonic()
        while not self._stopping.is_set():
            await self._deliver(connection, self._next())
            due_s = max(due_s + _CONNECTIONS * self._interval_s, time.monotonic())
            await asyncio.sleep(due_s - time.monotonic())
        connection.close()

    def _next(self) -> Request:
        if self._again and self._pick.random() < 0.5:
            return self._again.popleft()
        request = self._traffic.request(time.time_ns() // 1_000_000)
        if self._pick.random() < self.duplicates and len(self._again) < _AGAIN_WITHIN_REQUESTS:
            self._again.append(request)
        self._ledger.will_send(request.ids, self.fault)
        return request

    async def _deliver(self, connection: Connection, request: Request) -> None:
        tries = self._pick.choice([1, _MOST_TRIES, _MOST_TRIES, _MOST_TRIES])
        for _ in range(tries):
            status = await _ask(connection, request.sent)
            self._ledger.was_answered(request.ids, status)
            if status not in (0, 503) or self._stopping.is_set():
                return
            await asyncio.sleep(self._pick.uniform(*_RETRY_S))


async def _ask(connection: Connection, sent: bytes) -> int:
    try:
        return (await connection.ask(sent)).status
    except OSError:  # nobody listens, or no answer in time
        connection.close()
        return 0
