"""Records go in, and the call returns once every replica that must have them has them.

Guarantees: acknowledged by all in-sync replicas, in the order given, each record once however often aiokafka itself
had to send it (idempotence). When a call fails, what is in the topic is the beginning of what was given. A failed
batch leaves a gap in the sequence numbers of an idempotent producer, and its partition would refuse all that follows:
so the producer behind is replaced before the next record is sent.
"""

import asyncio
import logging
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import DuplicateSequenceNumber, KafkaConnectionError, KafkaError
from aiokafka.structs import RecordMetadata

from broker.connection import client_options, why_unreachable
from broker.encoded_batch import filled_batch
from broker.errors import BrokerUnavailable, broker_error, unknown_topic
from pipeline.settings import Settings
from topics.records import Output, Record

# As it is sent: compressed. A batch that is full goes out alone. A record larger than this makes a batch of its own.
_MAX_BATCH_BYTES = 1024 * 1024
_MAX_REQUEST_BYTES = 4 * 1024 * 1024
_REQUEST_TIMEOUT_MS = 15_000

log = logging.getLogger(__name__)


class DurableProducer:
    """Sends batches of records. One call at a time for a partition keeps its order."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._retired: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailable (a retry is right) or BrokerRefused."""
        await self._connected()

    async def stop(self, timeout_s: float = 10.0) -> None:
        """Disconnect; what was sent and not confirmed by then is given up."""
        if self._producer is not None:
            self._retire(self._producer)
        if self._retired:
            await asyncio.wait(self._retired, timeout=timeout_s)
        for unfinished in self._retired:
            unfinished.cancel()

    async def send(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        """Append the records, and return the offset after the last once all are acknowledged.

        Waits as long as the broker is away: who must answer sooner bounds their own wait, and sends nothing for the
        partition meanwhile. Raises BrokerUnavailable or BrokerRefused; after that no more of the call is sent, and
        sending again is safe where a duplicate is.
        """
        (end,) = await self.send_all([(topic, partition, records)])
        return end

    async def send_all(self, outputs: Sequence[Output]) -> list[int]:
        """As `send`, to several partitions, each once: they share a request as far as they have room in it. When it
        fails, each of them has the beginning of what it was given."""
        if not all(records for _, _, records in outputs):
            raise ValueError("no records to send")
        producer = self._producer or await self._connected()
        try:
            return await _send_all(producer, outputs)
        except KafkaError as error:
            self._retire(producer)
            raise broker_error(f"write to {', '.join(topic for topic, _, _ in outputs)}", error) from error

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Raises BrokerRefused where there is no such topic; never creates it."""
        return len(await self._leaders(topic))

    async def check(self, topic: str, timeout_s: float) -> None:
        """Ask the broker now whether the topic can be written. Raises BrokerUnavailable with the reason, or
        BrokerRefused."""
        try:
            async with asyncio.timeout(timeout_s):
                leaders = await self._leaders(topic)
        except TimeoutError:
            raise BrokerUnavailable(f"Kafka did not answer within {timeout_s:g} s") from None
        missing = [partition for partition, leader in leaders.items() if leader is None or leader < 0]
        if missing:
            raise BrokerUnavailable(f"{topic}: partitions {missing} have no leader; are all brokers up?")

    async def _leaders(self, topic: str) -> dict[int, int | None]:
        producer = self._producer or await self._connected()
        try:
            # Metadata of *all* topics: to ask for one by name would create it on a broker that is set to do so.
            cluster = await producer.client.fetch_all_metadata()
        except KafkaError as error:
            raise broker_error("read the list of topics", error) from error
        partitions = cluster.partitions_for_topic(topic)
        if not partitions:
            raise unknown_topic(topic)
        return {p: cluster.leader_for_partition(TopicPartition(topic, p)) for p in sorted(partitions)}

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                self._producer = await _started(self._settings)
            return self._producer

    def _retire(self, producer: AIOKafkaProducer) -> None:
        """Let what other partitions sent through it finish, and use it no more."""
        current = self._producer
        if current is not None and current is producer:
            self._producer = None
            stopping = asyncio.create_task(producer.stop())
            self._retired.add(stopping)
            stopping.add_done_callback(self._retired.discard)


async def _started(settings: Settings) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(
        **client_options(settings),
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",  # a fifth of the CPU of aiokafka's lz4, which is set to its highest level
        max_batch_size=_MAX_BATCH_BYTES,
        max_request_size=_MAX_REQUEST_BYTES,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
    )
    try:
        await producer.start()
    except KafkaConnectionError:
        await producer.stop()
        raise await why_unreachable(settings) from None
    except KafkaError as error:
        await producer.stop()
        raise broker_error(f"connect to Kafka at {settings.kafka}", error) from error
    except asyncio.CancelledError:
        await producer.stop()
        raise
    return producer


async def _send_all(producer: AIOKafkaProducer, outputs: Sequence[Output]) -> list[int]:
    last_batches = [await _last_batch_of(producer, *output) for output in outputs]
    ends = await asyncio.gather(*(under_way for under_way, _ in last_batches))
    if any(last.offset < 0 for last in ends):
        raise DuplicateSequenceNumber("it was written before, and the broker no longer knows where")
    return [last.offset + count for last, (_, count) in zip(ends, last_batches, strict=True)]


async def _last_batch_of(
    producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[Record]
) -> tuple[asyncio.Future[RecordMetadata], int]:
    """Send all of them. The batches before the last are acknowledged; it is under way, and has so many records. A
    batch is filled while the one before it is under way."""
    under_way: asyncio.Future[RecordMetadata] | None = None
    filled = 0
    while True:
        batch = filled_batch(records, filled, _MAX_BATCH_BYTES)
        filled += batch.record_count()
        if under_way is not None:
            await under_way
        under_way = await producer.send_batch(batch, topic, partition=partition)
        if filled == len(records):
            return under_way, batch.record_count()
