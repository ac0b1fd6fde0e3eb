"""The sink: records of one topic in, inserts into one table out.

It guarantees that a batch is acknowledged only after its insert was confirmed, that a retried insert repeats the same
rows under the same token, and that memory stays bounded: one batch is being inserted while one more fills, and then
`take` waits. A store that is away or full makes it wait, not fail.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

from agents.retry import Pulse, until_possible
from broker.errors import BrokerUnavailable
from broker.producer import DurableProducer
from pipeline.batch import BatchLimits, SinkBatch
from pipeline.dead_letters import dead_letter
from pipeline.outcome import Rejected
from pipeline.rows import Rows
from store.client import Store
from store.errors import BadRows, StoreUnavailable
from topics.names import REJECTED
from topics.records import RawRecord, Stretch
from topics.rejected import Reason

logger = logging.getLogger(__name__)

_GONE = "Kafka no longer has; they are not stored. Let topics keep records for longer than the store may be away"


class Sink:
    """One table's sink. `rows` makes the table's rows (JSONEachRow) of records."""

    def __init__(
        self,
        table: str,
        store: Store,
        producer: DurableProducer,
        records_of: Callable[[Iterable[Stretch]], Awaitable[list[RawRecord]]],
        limits: BatchLimits,
        rows: Rows,
        pulse: Pulse,
    ) -> None:
        """`records_of` reads records again: those of a batch that the store refuses. It may raise BrokerUnavailable."""
        self.table = table
        self._store = store
        self._producer = producer
        self._records_of = records_of
        self._limits = limits
        self._rows = rows
        self._pulse = pulse
        self._filling = SinkBatch()
        self._has_some, self._is_full, self._has_room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._has_room.set()
        self._is_waited_for = True

    async def take(self, records: Sequence[RawRecord], acknowledge: Callable[[], None]) -> None:
        """Add records to the next insert; `acknowledge` is called once they are stored. Waits while that is full."""
        while not self.offer(records, acknowledge):
            await self._has_room.wait()

    def offer(self, records: Sequence[RawRecord], acknowledge: Callable[[], None]) -> bool:
        """As `take`, where there is room for it; False where it would have to wait."""
        if not self._has_room.is_set():
            return False
        self._filling.append(records, self._rows(records), acknowledge, time.monotonic())
        self._has_some.set()
        if self._filling.is_full(self._limits):
            self._is_full.set()
            self._has_room.clear()
        return True

    async def room(self, longest_s: float) -> None:
        """Wait until there is room, but not longer than this; and not at all where that was in vain and there has been
        none since, as the store is away then."""
        if self._has_room.is_set() or not self._is_waited_for:
            return
        try:
            async with asyncio.timeout(longest_s):
                await self._has_room.wait()
        except TimeoutError:
            self._is_waited_for = False

    async def run(self) -> None:
        """Insert batch after batch, for ever. Raises StoreFailure, or BrokerError where a dead letter cannot go out."""
        while True:
            batch = await self._next_batch()
            # Step 1. The rows are in the store, or in the dead letters.
            await self._store_or_reject(batch)
            # Step 2. Only then are they acknowledged.
            for acknowledge in batch.acknowledge:
                acknowledge()

    async def _next_batch(self) -> SinkBatch:
        await self._has_some.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._filling.due_in_s(self._limits, time.monotonic())):
                await self._is_full.wait()
        batch, self._filling = self._filling, SinkBatch()
        self._has_some.clear()
        self._is_full.clear()
        self._has_room.set()
        self._is_waited_for = True
        return batch

    async def _store_or_reject(self, batch: SinkBatch) -> None:
        token = batch.insert_token()
        try:
            await self._insert_when_possible(batch.blocks, token)
        except BadRows:
            await self._insert_good(await self._read_again(batch.stretches), f"{token}=")

    async def _read_again(self, stretches: Sequence[Stretch]) -> list[RawRecord]:
        records: list[RawRecord] = []
        async for attempt in until_possible(BrokerUnavailable, self._pulse):
            with attempt:
                records = await self._records_of(stretches)
        gone = sum(stretch.records for stretch in stretches) - len(records)
        if gone:
            logger.error("%s: of the rows that the store refused, %d are of records that %s", self.table, gone, _GONE)
        return records

    async def _insert_good(self, records: Sequence[RawRecord], token: str) -> None:
        try:
            await self._insert_when_possible(self._rows(records), token)
        except BadRows as error:
            await self._isolate(records, token, error)

    async def _insert_when_possible(self, rows: Sequence[bytes], token: str) -> None:
        if not rows:
            return
        async for attempt in until_possible(StoreUnavailable, self._pulse):
            with attempt:
                await asyncio.to_thread(self._store.insert, self.table, rows, token)

    async def _isolate(self, records: Sequence[RawRecord], token: str, error: BadRows) -> None:
        """Find the bad rows by halving: the good ones are stored, each bad one becomes a dead letter."""
        if len(records) == 1:
            await self._reject(records[0], error)
            return
        middle = len(records) // 2
        for half, sign in ((records[:middle], "<"), (records[middle:], ">")):
            await self._insert_good(half, f"{token}{sign}")

    async def _reject(self, record: RawRecord, error: BadRows) -> None:
        if record.topic == REJECTED:
            raise error  # the row of a dead letter is of our own making
        letter = dead_letter(record, Rejected("sink", Reason.STORE_REFUSED, f"code {error.code}: {error}"))
        await self._producer.send(REJECTED, record.partition, [letter])
