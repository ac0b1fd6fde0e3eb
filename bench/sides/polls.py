"""How the plain loops read `events.raw`: all of it, by the poll."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from bench.sides import Side
from topics.names import RAW

_MOST_RECORDS_A_POLL = 4000
_MOST_BYTES_A_PARTITION = 8 * 1024 * 1024


@asynccontextmanager
async def consumer(side: Side) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that has read nothing yet: it fetches from `assign` on."""
    started = AIOKafkaConsumer(
        bootstrap_servers=side.kafka,
        group_id=side.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=_MOST_BYTES_A_PARTITION,
        fetch_max_bytes=_MOST_BYTES_A_PARTITION * side.partitions,
    )
    await started.start()
    try:
        yield started
    finally:
        await started.stop()


async def drain(
    side: Side, consumer: AIOKafkaConsumer, take: Callable[[list[ConsumerRecord[bytes, bytes]]], Awaitable[None]]
) -> None:
    """Give `take` all records, a poll of one partition at a time."""
    consumer.assign([TopicPartition(RAW, n) for n in range(side.partitions)])
    consumed = 0
    while consumed < side.events:
        polled = await consumer.getmany(timeout_ms=1000, max_records=_MOST_RECORDS_A_POLL)
        for records in polled.values():
            consumed += len(records)
            await take(records)
