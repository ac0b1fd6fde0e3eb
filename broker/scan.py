"""Reads stretches of topics from one offset to another, all partitions at once, beside everything else that runs.

It belongs to no consumer group and commits nothing. Every method raises BrokerUnavailable (a retry is safe) or
BrokerRefused.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from broker.connection import client_options, stop_consumer, why_unreachable
from broker.errors import BrokerUnavailable, broker_error, unknown_topic
from pipeline.settings import Settings
from topics.records import RawRecord, Stretch

Offsets = Mapping[int, int]
"""Partition: offset."""

_POLL_MS = 1000
_MAX_STANDSTILL_S = 30.0
# What is held in memory at once. Compressed, a partition's portion may be a tenth of what it holds.
_FETCH_BYTES = 256 * 1024
_RECORDS_AT_ONCE = 5000


class Scanner:
    """Made by `scanner`."""

    def __init__(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        self._consumer = consumer
        self._admin = admin

    async def starts(self, topic: str) -> Offsets:
        """The offsets of the first records that are kept."""
        with _told(topic):
            return _by_partition(await self._consumer.beginning_offsets(await self._partitions(topic)))

    async def ends(self, topic: str) -> Offsets:
        """The offsets that the next records will have."""
        with _told(topic):
            return _by_partition(await self._consumer.end_offsets(await self._partitions(topic)))

    async def offsets_at(self, topic: str, timestamp_ms: int) -> Offsets:
        """By partition the first record from which on some are not older than the timestamp: all before it are older,
        also where clocks went back. The end where there is none."""
        with _told(topic):
            wanted = {partition: max(0, timestamp_ms) for partition in await self._partitions(topic)}
            found = await self._consumer.offsets_for_times(wanted)
        starts, ends = await self.starts(topic), await self.ends(topic)
        offsets = {at.partition: int(found[at].offset) if found[at] else ends[at.partition] for at in wanted}
        # A broker looks into one segment only. Where records were deleted from a log's beginning it may be the one
        # that they were in, and then finds nothing, whatever comes behind.
        doubtful = {p: ends[p] - 1 for p, start in starts.items() if offsets[p] == ends[p] > start > 0}
        async for records in self.read(topic, doubtful, ends):
            offsets |= {r.partition: starts[r.partition] for r in records if r.timestamp >= timestamp_ms}
        return offsets

    async def committed(self, group: str, topic: str) -> Offsets:
        """Up to where a group has finished; where it has not begun, the first record that is kept."""
        starts = await self.starts(topic)
        with _told(f"the positions of {group}"):
            # A broker that never had a group has no coordinator to ask: look among those it knows first.
            known = {name for name, *_ in await self._admin.list_consumer_groups()}
            found = await self._admin.list_consumer_group_offsets(group) if group in known else {}
        ours = {at.partition: int(position.offset) for at, position in found.items() if at.topic == topic}
        return {partition: max(start, ours.get(partition, start)) for partition, start in starts.items()}

    async def read(self, topic: str, starts: Offsets, ends: Offsets) -> AsyncIterator[Sequence[RawRecord]]:
        """The records from `starts` on and before `ends`, in order within a partition. Both within what is kept."""
        loop = asyncio.get_running_loop()
        open_ = {TopicPartition(topic, p): ends[p] for p, start in starts.items() if start < ends[p]}
        if not open_:
            return
        self._consumer.assign(list(open_))
        for at in open_:
            self._consumer.seek(at, starts[at.partition])
        stood_still_s = 0.0
        while open_:
            asked_at_s = loop.time()
            with _told(topic):
                polled = await self._consumer.getmany(*open_, timeout_ms=_POLL_MS, max_records=_RECORDS_AT_ONCE)
            stood_still_s = 0.0 if polled else stood_still_s + loop.time() - asked_at_s
            for at, records in polled.items():
                yield records if records[-1].offset < open_[at] else [r for r in records if r.offset < open_[at]]
            with _told(topic):
                for at in [at for at in open_ if await self._consumer.position(at) >= open_[at]]:
                    del open_[at]
                    self._consumer.pause(at)
            if stood_still_s > _MAX_STANDSTILL_S:
                raise BrokerUnavailable(f"reading {topic} stood still for {_MAX_STANDSTILL_S:g} s; is Kafka up?")

    async def _partitions(self, topic: str) -> list[TopicPartition]:
        """Lists all topics: to ask for one by name would create it on a broker that is set to do so."""
        if topic not in await self._consumer.topics():
            raise unknown_topic(topic)
        described = await self._admin.describe_topics([topic])
        return [TopicPartition(topic, p["partition"]) for p in described[0]["partitions"]]


@asynccontextmanager
async def scanner(settings: Settings) -> AsyncIterator[Scanner]:
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=_FETCH_BYTES,
    )
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await consumer.start()
        await admin.start()
        yield Scanner(consumer, admin)
    except KafkaConnectionError:
        raise await why_unreachable(settings) from None
    except KafkaError as error:
        raise broker_error(f"connect to Kafka at {settings.kafka}", error) from error
    finally:
        await stop_consumer(consumer)
        await admin.close()


async def records_of(settings: Settings, stretches: Iterable[Stretch]) -> list[RawRecord]:
    """What lies there, but for what retention or compaction has taken meanwhile."""
    found: list[RawRecord] = []
    async with scanner(settings) as scan:
        for topic, partition, start, end, _ in stretches:
            async for records in scan.read(topic, {partition: start}, {partition: end}):
                found += records
    return found


def _by_partition(offsets: Mapping[TopicPartition, int]) -> Offsets:
    return {at.partition: int(offset) for at, offset in offsets.items()}


@contextmanager
def _told(topic: str) -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        raise broker_error(f"read {topic}", error) from error
