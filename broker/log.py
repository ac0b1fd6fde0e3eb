"""Reads one partition of a topic from an offset up to its present end: how state is brought up to a log.

It belongs to no consumer group and commits nothing. Every method raises BrokerUnavailable; a retry is safe.
"""

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import contextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from broker.connection import client_options, stop_consumer
from broker.errors import broker_error
from pipeline.settings import Settings
from topics.records import RawRecord

_POLL_MS = 1000


class LogReader:
    """One reader, for one partition at a time. Between `start` and `stop`."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = AIOKafkaConsumer(
            **client_options(settings), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
        )

    async def start(self) -> None:
        with _told("the log"):
            await self._consumer.start()

    async def stop(self) -> None:
        await stop_consumer(self._consumer)

    async def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """The offset of the first record that is not older than the timestamp; the end where there is none."""
        at = TopicPartition(topic, partition)
        with _told(topic):
            found = (await self._consumer.offsets_for_times({at: max(0, timestamp_ms)}))[at]
        return int(found.offset) if found else await self.end(topic, partition)

    async def end(self, topic: str, partition: int) -> int:
        """The offset that the next record will have."""
        at = TopicPartition(topic, partition)
        with _told(topic):
            return int((await self._consumer.end_offsets([at]))[at])

    async def held(self, partitions: Collection[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        """Of each partition the offset of the first record that is left and the one that the next will have."""
        at = [TopicPartition(topic, partition) for topic, partition in partitions]
        with _told("the ends of topics"):
            first, next_ = await self._consumer.beginning_offsets(at), await self._consumer.end_offsets(at)
        return {(each.topic, each.partition): (first[each], next_[each]) for each in at}

    async def read(self, topic: str, partition: int, start: int) -> AsyncIterator[Sequence[RawRecord]]:
        """The records from `start` up to the end as it is now, in order. Where retention has taken the first of them,
        from the first that is left."""
        at = TopicPartition(topic, partition)
        end = await self.end(topic, partition)
        if start >= end:
            return
        with _told(topic):
            self._consumer.assign([at])
            self._consumer.seek(at, start)
        while True:
            with _told(topic):
                if await self._consumer.position(at) >= end:
                    return
                polled = await self._consumer.getmany(at, timeout_ms=_POLL_MS)
            for records in polled.values():
                yield records


@contextmanager
def _told(topic: str) -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        raise broker_error(f"read {topic}", error) from error
