"""How records reach the agents: one message for each partition and poll, whose value is the list of its records.

Stock Faust hands every record through four tasks and acknowledges what an agent never finished. Here a poll's records
of a partition stay together, and an offset is committed only up to where every batch before it was reported done
(`Watermark.done`). Changelog records go through one by one, as Faust's recovery expects.

Topics that are read this way are declared with `acks=False`: Faust's own acknowledgements then stay out of it.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

import faust
from aiokafka import ConsumerRecord
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from agents.failure import die
from pipeline.watermark import Watermark

_POLL_WHILE_REBALANCING_S = 0.1


class BatchConsumer(driver.Consumer):
    """Faust's Kafka consumer, with batches in and an in-order watermark out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watermarks: dict[TP, Watermark] = {}

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 (Faust's signature)
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        readable = self._readable()
        if not readable:
            await self.sleep(_POLL_WHILE_REBALANCING_S)
            return
        wait_s = _POLL_WHILE_REBALANCING_S if self.app.rebalancing else timeout
        polled = await self._getmany(readable, wait_s)
        for tp, records in polled.items():
            if self.should_stop or not self.flow_active:
                return
            if not records:
                continue
            if self.app.rebalancing and not self._is_changelog_tp(tp):
                await self._poll_again(tp, records[0].offset)
                continue
            for message in self._messages(tp, records):
                yield tp, message

    async def _poll_again(self, tp: TP, offset: int) -> None:
        """What a poll brings that began before a rebalance is not delivered. Faust seeks to the committed offset, which
        may be behind us already: then nothing else would bring it again."""
        with suppress(IllegalStateError):  # the partition is another worker's now
            await self.seek(tp, offset)

    def _readable(self) -> set[TP]:
        """The partitions to poll. While Faust recovers its tables, their changelogs alone: it resumes the streams
        *before* it seeks them to their committed offsets, and what is read in between would be lost."""
        active = self._get_active_partitions()
        return {tp for tp in active if self._is_changelog_tp(tp)} if self.app.rebalancing else set(active)

    def watermark(self, tp: TP) -> Watermark:
        """The partition's own until it is revoked; a later assignment starts a new one."""
        return self._watermarks.setdefault(tp, Watermark())

    def _messages(self, tp: TP, records: list[ConsumerRecord]) -> Iterable[Any]:
        if self._is_changelog_tp(tp):
            return (self._to_message(tp, record) for record in records)
        self.watermark(tp).delivered(records[-1].offset, self.app.readers[tp.topic])
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
    """A Faust app whose agents are fed batches, and whose process ends where an agent fails."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self.readers: defaultdict[str, list[str]] = defaultdict(list)  # topic: the agents that each get its batches

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    def close_at_the_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Call `close` once everything of the app has stopped."""
        self._closing.append(close)

    async def on_shutdown(self) -> None:
        await super().on_shutdown()
        for close in self._closing:
            await close()

    async def _on_agent_error(self, agent: Any, error: BaseException) -> None:
        # Faust would commit, restart the agent and go on behind the batch that failed.
        die(f"agent {agent.name!r}", error)
