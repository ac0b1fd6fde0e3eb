"""What stands in the topics: every record of one, and how far the workers are behind."""

import asyncio

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from broker.connection import client_options
from pipeline.settings import Settings
from topics.names import LINKS, MERGES, PERSONS, PROJECTS, RAW, REJECTED, STITCHED, WORKER_GROUP

_READ_BY_WORKERS = (RAW, STITCHED, LINKS, MERGES, PERSONS, PROJECTS, REJECTED)


def records(settings: Settings, topic: str) -> list[ConsumerRecord]:
    """All of a topic's, each partition's in its order."""
    return asyncio.run(_records(settings, topic))


def lag(settings: Settings) -> int:
    """Records that wait for a worker, or that a worker has taken and not committed."""
    return asyncio.run(_lag(settings))


def rewind(settings: Settings, topic: str) -> bool:
    """Have the workers begin again with a topic's first record, once none of them runs; False while one may."""
    return asyncio.run(_rewind(settings, topic))


async def _records(settings: Settings, topic: str) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(**client_options(settings), auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = _partitions(settings, topic)
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: dict[TopicPartition, list[ConsumerRecord]] = {each: [] for each in partitions}
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for partition, polled in (await consumer.getmany(timeout_ms=200)).items():
                found[partition] += polled
        return [record for partition in partitions for record in found[partition]]
    finally:
        await consumer.stop()


async def _lag(settings: Settings) -> int:
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False)
    admin = AIOKafkaAdminClient(**client_options(settings))
    await consumer.start()
    await admin.start()
    try:
        behind = 0
        for topic in _READ_BY_WORKERS:  # what comes later on the way of an event is asked later
            committed = await admin.list_consumer_group_offsets(WORKER_GROUP)
            partitions = _partitions(settings, topic)
            ends = await consumer.end_offsets(partitions)
            behind += sum(ends[each] - (committed[each].offset if each in committed else 0) for each in partitions)
        return behind
    finally:
        await admin.close()
        await consumer.stop()


async def _rewind(settings: Settings, topic: str) -> bool:
    if not await _is_empty(settings, WORKER_GROUP):
        return False
    consumer = AIOKafkaConsumer(**client_options(settings), group_id=WORKER_GROUP, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = _partitions(settings, topic)
        consumer.assign(partitions)
        await consumer.commit(dict.fromkeys(partitions, 0))
    finally:
        await consumer.stop()
    return True


async def _is_empty(settings: Settings, group: str) -> bool:
    """A worker that was killed is a member until its session ends."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        [described] = await admin.describe_consumer_groups([group])
        [(_error, _name, state, *_rest)] = described.groups
        return bool(state == "Empty")
    finally:
        await admin.close()


def _partitions(settings: Settings, topic: str) -> list[TopicPartition]:
    count = 1 if topic == PROJECTS else settings.partitions
    return [TopicPartition(topic, partition) for partition in range(count)]
