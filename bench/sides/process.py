"""What every side is: a process that drains `events.raw`, and says on its output when it begins and when it is done."""

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from topics.names import RAW

_MOST_RECORDS_A_POLL = 4000
_MOST_BYTES_A_PARTITION = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Task:
    """`group` names what the side makes: its consumer group, and its table."""

    kafka: str
    store: str
    group: str
    events: int
    partitions: int


def asked() -> Task:
    arguments = argparse.ArgumentParser()
    for name in ("kafka", "store", "group"):
        arguments.add_argument(f"--{name}", required=True)
    for name in ("events", "partitions"):
        arguments.add_argument(f"--{name}", type=int, required=True)
    return Task(**vars(arguments.parse_args()))


def say(line: str) -> None:
    print(line, flush=True)


@asynccontextmanager
async def consumer(task: Task) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that has read nothing yet: it fetches from `assign` on."""
    started = AIOKafkaConsumer(
        bootstrap_servers=task.kafka,
        group_id=task.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=_MOST_BYTES_A_PARTITION,
        fetch_max_bytes=_MOST_BYTES_A_PARTITION * task.partitions,
    )
    await started.start()
    try:
        yield started
    finally:
        await started.stop()


async def drain(
    task: Task, consumer: AIOKafkaConsumer, take: Callable[[list[ConsumerRecord[bytes, bytes]]], Awaitable[None]]
) -> None:
    """Give `take` all records, a poll of one partition at a time."""
    consumer.assign([TopicPartition(RAW, n) for n in range(task.partitions)])
    consumed = 0
    while consumed < task.events:
        polled = await consumer.getmany(timeout_ms=1000, max_records=_MOST_RECORDS_A_POLL)
        for records in polled.values():
            consumed += len(records)
            await take(records)
