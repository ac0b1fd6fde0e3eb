"""Writes and reads `control.projects`, the compacted topic of projects, keys, their settings and the forgotten."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from broker.connection import client_options, why_unreachable
from broker.errors import BrokerError, BrokerRefused, BrokerUnavailable, broker_error, unknown_topic
from broker.producer import DurableProducer
from pipeline.directory import Directory
from pipeline.settings import Settings
from topics import control
from topics.control import Entry
from topics.names import PROJECTS
from topics.records import Record

_PARTITION = TopicPartition(PROJECTS, 0)
_POLL_MS = 500
_REQUEST_TIMEOUT_MS = 15_000

# How often a follower asks for the topic's end, and how long it may stand still short of it.
_CHECK_EVERY_S = 2.0
_MAX_STANDSTILL_S = 10.0

log = logging.getLogger(__name__)


async def write_control(settings: Settings, records: Sequence[Entry]) -> None:
    """Write entries; returns once they are durable. Raises BrokerUnavailable or BrokerRefused; a retry is safe."""
    now_ms = time.time_ns() // 1_000_000
    await _write(settings, [(control.record_key(record), control.encode(record), now_ms, ()) for record in records])


async def remove_control(settings: Settings, record: Entry) -> None:
    """Remove a project or revoke a key. Raises and retries as `write_control`."""
    await _write(settings, [(control.record_key(record), None, time.time_ns() // 1_000_000, ())])


async def load_directory(settings: Settings, timeout_s: float = 30.0) -> Directory:
    """The directory as of now. Raises BrokerUnavailable or BrokerRefused."""
    follower = DirectoryFollower(settings)
    try:
        async with asyncio.timeout(timeout_s):
            await follower.start()
    except TimeoutError:
        raise BrokerUnavailable(f"cannot read {PROJECTS} within {timeout_s:g} s; is Kafka overloaded?") from None
    finally:
        await follower.stop()
    return follower.directory


class DirectoryFollower:
    """Keeps `directory` the newest view of the topic, a change within a second; keeps on through broker restarts.

    It never goes stale in silence: `failed()` returns as soon as following has ended. While Kafka is away the last
    view stands, which is what an ingress wants: it cannot take events then either.
    """

    def __init__(self, settings: Settings) -> None:
        self.directory = Directory()
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self._following: asyncio.Task[BrokerError] | None = None

    async def start(self) -> None:
        """Read the topic to its end, then follow it. Raises BrokerUnavailable (start again) or BrokerRefused."""
        await self.stop()
        self._consumer = consumer = await _started(self._settings)
        try:
            end = await _end_offset(consumer)
            while await consumer.position(_PARTITION) < end:
                await self._read(consumer)
        except KafkaError as error:
            raise broker_error(f"read {PROJECTS}", error) from error
        self._following = asyncio.create_task(self._follow(consumer))

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
            self._following = None
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None

    async def failed(self) -> BrokerError:
        """Wait until following has ended, and return why. Only after `start`."""
        assert self._following is not None, "start() comes first"
        return await asyncio.shield(self._following)

    async def _follow(self, consumer: AIOKafkaConsumer) -> BrokerError:
        progress = Progress(await consumer.position(_PARTITION), time.monotonic())
        while True:
            try:
                await self._read(consumer)
                now_s = time.monotonic()
                if now_s - progress.checked_at_s > _CHECK_EVERY_S:
                    checked = progress.after(await consumer.position(_PARTITION), await _end_offset(consumer), now_s)
                    if isinstance(checked, BrokerError):
                        return checked
                    progress = checked
            except KafkaError as error:
                failure = broker_error(f"read {PROJECTS}", error)
                if isinstance(failure, BrokerRefused):
                    return failure
                log.warning("%s", failure)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        batches: dict[TopicPartition, list[ConsumerRecord[bytes | None, bytes | None]]]
        batches = await consumer.getmany(_PARTITION, timeout_ms=_POLL_MS)
        for records in batches.values():
            self.directory = self.directory.apply((record.key, record.value) for record in records)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a follower was when it was last checked, and since when it has stood short of the topic's end."""

    position: int
    checked_at_s: float
    short_since_s: float | None = None

    def after(self, position: int, end: int, now_s: float) -> Self | BrokerError:
        """The next progress, or why this follower is of no more use: a client whose background task has died reads
        nothing and says nothing."""
        if position < self.position:
            return BrokerUnavailable(f"{PROJECTS} was made anew behind our back; read it again from its beginning")
        if position >= end or position > self.position:
            return type(self)(position, now_s)
        since_s = self.short_since_s if self.short_since_s is not None else now_s
        if now_s - since_s > _MAX_STANDSTILL_S:
            return BrokerUnavailable(f"reading {PROJECTS} stands still at {position} of {end}; connect again")
        return type(self)(position, now_s, since_s)


async def _write(settings: Settings, records: Sequence[Record]) -> None:
    producer = DurableProducer(settings)
    try:
        await producer.start()
        await producer.partitions(PROJECTS)
        if records:
            await producer.send(PROJECTS, 0, records)
    finally:
        await producer.stop()


async def _started(settings: Settings) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
    )
    try:
        await consumer.start()
        # Lists all topics: to subscribe to one that is missing would create it on a broker that is set to do so.
        if PROJECTS not in await consumer.topics():
            raise unknown_topic(PROJECTS)
    except KafkaConnectionError:
        await consumer.stop()
        raise await why_unreachable(settings) from None
    except KafkaError as error:
        await consumer.stop()
        raise broker_error(f"connect to Kafka at {settings.kafka}", error) from error
    except BaseException:
        await consumer.stop()
        raise
    consumer.assign([_PARTITION])
    return consumer


async def _end_offset(consumer: AIOKafkaConsumer) -> int:
    return int((await consumer.end_offsets([_PARTITION]))[_PARTITION])
