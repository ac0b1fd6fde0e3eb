"""How records reach the agents: one message for each partition and poll, whose value is the list of its records.

Stock Faust hands every record through four tasks and acknowledges what an agent never finished. Here a poll's records
of a partition stay together, and an offset is committed only up to where every batch before it was reported done
(`Watermark.done`).

Topics that are read this way are declared with `acks=False`: Faust's own acknowledgements then stay out of it.

What a process has written to a partition that it reads as well is not read back: once it is durable, `hand_over` gives
it to its reader, as if a poll had brought it. The partition is paused for as long as that goes on.
"""

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, cast

import faust
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from agents.failure import die
from agents.sink import Sink
from pipeline.watermark import Watermark
from topics.records import Record, from_offset
from topics.written import Written

_POLL_WHILE_REBALANCING_S = 0.1
_POLL_WHILE_HELD_BACK_S = 0.05
# A broker is asked for one fetch at a time. A partition that was not in it, as it had records waiting here, waits until
# it is answered: by whatever comes to the others, or after this long. Faust's own is 1.5 s.
_LONGEST_FETCH_MS = 200
_PAUSED_FOR_S = 1.0  # since the last that was handed over


class BatchConsumer(driver.Consumer):
    """Faust's Kafka consumer, with batches in and an in-order watermark out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watermarks: dict[TP, Watermark] = {}
        self._written_to: dict[TP, int] = {}  # the offset after the last record that this process wrote
        self._paused_until: dict[TP, float] = {}  # not read: what comes next will be handed over

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 (Faust's signature)
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        self._read_where_idle(time.monotonic())
        readable = self._readable()
        if not readable:
            await self.sleep(_POLL_WHILE_REBALANCING_S)
            return
        polled = await self._getmany(readable, self._longest_poll_s(timeout))
        for tp, records in polled.items():
            if self.should_stop or not self.flow_active:
                return
            if not records:
                continue
            if self.app.rebalancing:
                await self._poll_again(tp, records[0].offset)
                continue
            for message in self._messages(tp, records):
                yield tp, message

    def _longest_poll_s(self, timeout: float) -> float:
        """How long a poll may wait. It hears of nothing but the partitions that it was asked for, so it is short where
        others will be free in a moment: while an agent's queue is full."""
        return _POLL_WHILE_HELD_BACK_S if self._buffered_partitions else timeout

    async def _poll_again(self, tp: TP, offset: int) -> None:
        """What a poll brings that began before a rebalance is not delivered. Faust seeks to the committed offset, which
        may be behind us already: then nothing else would bring it again."""
        with suppress(IllegalStateError):  # the partition is another worker's now
            await self.seek(tp, offset)

    def _readable(self) -> set[TP]:
        """The partitions to poll: none during a rebalance. Faust resumes the streams *before* it seeks them to their
        committed offsets, and what is read in between would be lost."""
        return set() if self.app.rebalancing else {*self._get_active_partitions()}

    def watermark(self, tp: TP) -> Watermark:
        """The partition's own until it is revoked; a later assignment starts a new one."""
        return self._watermarks.setdefault(tp, Watermark())

    def _messages(self, tp: TP, records: list[ConsumerRecord]) -> Iterable[Any]:
        watermark = self.watermark(tp)
        # A poll may have been under way when others were handed over.
        new = from_offset(watermark.next_offset or 0, records)
        if not new:
            return ()
        watermark.delivered(new[-1].offset, self.app.readers[tp.topic])
        self._pause_where_caught_up(tp, watermark)
        message = self._to_message(tp, new[-1])
        message.value = new
        return (message,)

    def hand_over(self, tp: TP, end: int, records: Sequence[Record]) -> None:
        """Give to its reader what this process wrote to a partition, up to before the offset `end`, where it is what
        comes next and the reader has room for it. It is read from Kafka otherwise."""
        if self.app.rebalancing or self.should_stop or tp not in self._get_active_partitions():
            return
        written = Written(tp.topic, tp.partition, end - len(records), records)
        start = written.stretch.start
        watermark = self._watermarks.get(tp) or self._begun_by(tp, start)
        self._written_to[tp] = end
        if watermark is None:
            return
        if watermark.next_offset == start and self._is_taken(written, watermark):
            watermark.delivered(end - 1, self.app.readers[tp.topic])
            self._pause_where_caught_up(tp, watermark)
        else:
            self._read_on(tp)

    def _begun_by(self, tp: TP, offset: int) -> Watermark | None:
        """The watermark of a partition of which nothing was polled yet: what is written first since its assignment
        comes next where it lies at the committed offset. None where it does not: then a poll must come first."""
        if tp in self._written_to or offset != (self._committed_offset.get(tp) or 0):
            return None
        watermark = self.watermark(tp)
        watermark.next_offset = offset
        return watermark

    def _is_taken(self, written: Written, watermark: Watermark) -> bool:
        topic, last_offset = written.stretch.topic, written.stretch.end - 1
        readers = self.app.readers[topic]
        sink: Sink | None = self.app.sinks.get(topic)
        if sink is None or len(readers) > 1:
            return False
        return sink.offer(written, lambda: watermark.done(last_offset, readers[0]))

    def _pause_where_caught_up(self, tp: TP, watermark: Watermark) -> None:
        """Were it read on, a poll would bring what is written next before it can be handed over."""
        if watermark.next_offset != self._written_to.get(tp):
            return
        if tp not in self._paused_until:
            self._in_thread(lambda consumer: consumer.pause(TopicPartition(*tp)))
        self._paused_until[tp] = time.monotonic() + _PAUSED_FOR_S

    def _read_on(self, tp: TP) -> None:
        if self._paused_until.pop(tp, None) is not None:
            offset = self._watermarks[tp].next_offset
            self._in_thread(lambda consumer: _resume(consumer, TopicPartition(*tp), offset))

    def _read_where_idle(self, now_s: float) -> None:
        """Somebody else may write there, such as a worker that does not know yet that it has lost the partition."""
        for tp in [tp for tp, until_s in self._paused_until.items() if until_s <= now_s]:
            self._read_on(tp)

    def _in_thread(self, change: Callable[[AIOKafkaConsumer], object]) -> None:
        """Change aiokafka's consumer in the thread that it lives in. A partition that is gone meanwhile is left out."""

        def changed() -> None:
            with suppress(IllegalStateError, ConsumerNotStarted):
                change(self._thread._ensure_consumer())

        self._thread.thread_loop.call_soon_threadsafe(changed)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.commit()
        for tp in revoked:
            self._watermarks.pop(tp, None)
            self._written_to.pop(tp, None)
            self._paused_until.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:
        return [tp for tp in self._watermarks if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        watermark = self._watermarks.get(tp)
        return watermark.committable if watermark else None


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = _LONGEST_FETCH_MS
        return consumer


def _resume(consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int | None) -> None:
    consumer.seek(tp, offset)
    consumer.resume(tp)


class BatchTransport(driver.Transport):
    Consumer = BatchConsumer


class BatchApp(faust.App):
    """A Faust app whose agents are fed batches, and whose process ends where an agent fails."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self.readers: defaultdict[str, list[str]] = defaultdict(list)  # topic: the agents that each get its batches
        self.sinks: dict[str, Sink] = {}  # topic: its reader

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    def hand_over(self, topic: str, partition: int, end: int, records: Sequence[Record]) -> None:
        """As `BatchConsumer.hand_over`."""
        cast(BatchConsumer, self.consumer).hand_over(TP(topic, partition), end, records)

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
