"""Gathers the events of many requests into few batches, and tells each request when its own are durable.

Per partition one batch is under way and the next one fills meanwhile; an idle partition waits a few milliseconds for
company. Guarantees: order within a partition; a request is told "published" only when Kafka has acknowledged all of
its events; nobody waits longer than `max_wait_s`; once `max_waiting_bytes` are held, no further request is. A batch
that is under way when its requests give up stays so, since nothing can call it back: until it is settled, its
partition takes no more.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from broker.errors import BrokerError, BrokerRefused
from broker.producer import DurableProducer
from ingress.errors import Problem
from topics.keys import partition_of
from topics.records import Record

# What a record occupies beside its own bytes: the tuple, its strings, its place in a batch.
_RECORD_OVERHEAD_BYTES = 400

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublishLimits:
    """How long events may wait, for company and for Kafka, and how many bytes may wait at once."""

    linger_s: float = 0.005
    max_wait_s: float = 5.0
    max_waiting_bytes: int = 64 * 1024 * 1024


@dataclass(slots=True, eq=False)
class _Batch:
    settled: asyncio.Future[Problem | None]
    expiry: asyncio.TimerHandle
    records: list[Record] = field(default_factory=list)
    bytes: int = 0


@dataclass(slots=True, eq=False)
class _Lane:
    """One partition: what fills, and what is under way."""

    partition: int
    filling: _Batch | None = None
    under_way: _Batch | None = None


class Publisher:
    """Publishes to one topic. Between the producer's `start` and `stop`, on one event loop."""

    def __init__(self, producer: DurableProducer, topic: str, partitions: int, limits: PublishLimits) -> None:
        self._producer = producer
        self._topic = topic
        self._limits = limits
        self._lanes = [_Lane(partition) for partition in range(partitions)]
        self._loop = asyncio.get_running_loop()
        self._waiting_bytes = 0
        self._idle: list[_Lane] = []
        self._stuck: set[_Lane] = set()
        self._sending: set[asyncio.Task[None]] = set()
        self.crashed: asyncio.Future[None] = self._loop.create_future()
        """Raises what a bug of ours raised while sending; never done otherwise."""

    async def publish(self, records: Sequence[Record]) -> Problem | None:
        """Returns None once all records are durable, else why they may not be. Sending them again is safe then.

        To cancel one caller cancels all that wait for the same batch: bound the wait by `max_wait_s` instead.
        """
        if self._waiting_bytes > self._limits.max_waiting_bytes:
            return Problem.OVERLOADED
        lanes, count = self._lanes, len(self._lanes)
        chosen = [lanes[partition_of(record[0] or b"", count)] for record in records]
        if self._stuck and not self._stuck.isdisjoint(chosen):
            return Problem.KAFKA_SLOW
        batches = {self._add(lane, record) for lane, record in zip(chosen, records, strict=True)}
        for batch in batches:
            if (problem := await batch.settled) is not None:
                return problem
        return None

    @property
    def waiting_bytes(self) -> int:
        """What is held in memory until Kafka confirms it."""
        return self._waiting_bytes

    @property
    def stuck_partitions(self) -> list[int]:
        """Those whose batch under way has outlasted every request in it."""
        return sorted(lane.partition for lane in self._stuck)

    async def close(self) -> None:
        """Give up what is still under way. Once every request has been answered, nobody waits for it any more."""
        for sending in self._sending:
            sending.cancel()
        if self._sending:
            await asyncio.wait(self._sending)

    def _add(self, lane: _Lane, record: Record) -> _Batch:
        batch = lane.filling
        if batch is None:
            batch = lane.filling = self._new_batch(lane)
        batch.records.append(record)
        size = _RECORD_OVERHEAD_BYTES + len(record[1] or b"")
        for _, header in record[3]:
            size += len(header)
        batch.bytes += size
        self._waiting_bytes += size
        return batch

    def _new_batch(self, lane: _Lane) -> _Batch:
        settled = self._loop.create_future()
        batch = _Batch(settled, self._loop.call_later(self._limits.max_wait_s, self._expire, lane, settled))
        if lane.under_way is None:
            if not self._idle:
                self._loop.call_later(self._limits.linger_s, self._send_idle)
            self._idle.append(lane)
        return batch

    def _send_idle(self) -> None:
        """All that idled go at once, so that they share one request to the broker."""
        lanes, self._idle = self._idle, []
        for lane in lanes:
            sending = self._loop.create_task(self._send(lane))
            self._sending.add(sending)
            sending.add_done_callback(self._sent)

    def _sent(self, sending: asyncio.Task[None]) -> None:
        self._sending.discard(sending)
        if not sending.cancelled() and (error := sending.exception()) and not self.crashed.done():
            self.crashed.set_exception(error)

    async def _send(self, lane: _Lane) -> None:
        while (batch := lane.filling) is not None:
            lane.filling, lane.under_way = None, batch
            problem = await self._deliver(lane.partition, batch.records)
            lane.under_way = None
            self._settle(lane, batch, problem)

    async def _deliver(self, partition: int, records: Sequence[Record]) -> Problem | None:
        try:
            await self._producer.send(self._topic, partition, records)
        except BrokerError as error:
            level = logging.ERROR if isinstance(error, BrokerRefused) else logging.WARNING
            log.log(level, "%d events not written: %s", len(records), error)
            return Problem.KAFKA_UNAVAILABLE
        return None

    def _expire(self, lane: _Lane, settled: asyncio.Future[Problem | None]) -> None:
        """The requests of this batch have waited long enough. What is not under way yet is not sent any more."""
        if not settled.done():
            settled.set_result(Problem.KAFKA_SLOW)
        if (batch := lane.filling) is not None and batch.settled is settled:
            lane.filling = None
            self._waiting_bytes -= batch.bytes
        else:
            self._stuck.add(lane)

    def _settle(self, lane: _Lane, batch: _Batch, problem: Problem | None) -> None:
        batch.expiry.cancel()
        self._stuck.discard(lane)
        self._waiting_bytes -= batch.bytes
        if not batch.settled.done():
            batch.settled.set_result(problem)
