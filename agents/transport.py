"""How records reach the agents: one message for each partition and poll, whose value is the list of its records.

Stock Faust hands every record through four tasks and acknowledges what an agent never finished. Here a poll's records
of a partition stay together, and an offset is committed only up to where every batch before it was reported done
(`BatchConsumer.done`). Changelog records go through one by one, as Faust's recovery expects.

Topics that are read this way are declared with `acks=False`: Faust's own acknowledgements then stay out of it.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any

import faust
from aiokafka import ConsumerRecord
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from pipeline.watermark import Watermark


class BatchConsumer(driver.Consumer):
    """Faust's Kafka consumer, with batches in and an in-order watermark out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watermarks: dict[TP, Watermark] = {}

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 (Faust's signature)
        polled, active = await self._wait_next_records(timeout)
        if polled is None or self.should_stop:
            return
        if not self.flow_active:
            await self.perform_seek()
            return
        generation = self.app.consumer_generation_id
        for tp, records in polled.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            if records and (active is None or tp in active or tp in self._buffered_partitions):
                for message in self._messages(tp, records):
                    yield tp, message

    def watermark(self, tp: TP) -> Watermark:
        """The partition's own until it is revoked; a later assignment starts a new one."""
        return self._watermarks.setdefault(tp, Watermark())

    def _messages(self, tp: TP, records: list[ConsumerRecord]) -> Iterable[Any]:
        if self._is_changelog_tp(tp):
            return (self._to_message(tp, record) for record in records)
        self.watermark(tp).delivered(records[-1].offset)
        message = self._to_message(tp, records[-1])
        message.value = records
        return (message,)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.commit()
        for tp in revoked:
            self._watermarks.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:
        return [tp for tp in self._watermarks if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        watermark = self._watermarks.get(tp)
        return watermark.committable if watermark else None


class BatchTransport(driver.Transport):
    Consumer = BatchConsumer


class BatchApp(faust.App):
    """A Faust app whose agents are fed batches."""

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)
