"""The sink: records of one topic in, inserts into one table out.

It guarantees that a batch is acknowledged only after its insert was confirmed, that a retried insert repeats the same
rows under the same token, and that memory stays bounded: one batch is being inserted while one more fills, and then
`take` waits. A store that is away or full makes it wait, not fail.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from agents.retry import Pulse, until_possible
from broker.producer import DurableProducer
from pipeline.batch import BatchLimits, SinkBatch, insert_token
from pipeline.dead_letters import dead_letter
from pipeline.outcome import Rejected
from store.client import Store
from store.errors import BadRows, StoreUnavailable
from topics.names import REJECTED
from topics.records import RawRecord
from topics.rejected import Reason


class Sink:
    """One table's sink. `row` makes the table's row (JSONEachRow) of a record, or None where it keeps nothing of it."""

    def __init__(
        self,
        table: str,
        store: Store,
        producer: DurableProducer,
        limits: BatchLimits,
        row: Callable[[RawRecord], bytes | None],
        pulse: Pulse,
    ) -> None:
        self.table = table
        self._store = store
        self._producer = producer
        self._limits = limits
        self._row = row
        self._pulse = pulse
        self._filling = SinkBatch()
        self._changed = asyncio.Condition()

    async def take(self, records: Sequence[RawRecord], acknowledge: Callable[[], None]) -> None:
        """Add records to the next insert; `acknowledge` is called once they are stored. Waits while that is full."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._filling.is_full(self._limits))
            self._filling.append(records, acknowledge, time.monotonic())
            self._changed.notify_all()

    async def run(self) -> None:
        """Insert batch after batch, for ever. Raises StoreFailure, or BrokerError where a dead letter cannot go out."""
        while True:
            batch = await self._next_batch()
            # Step 1. The rows are in the store, or in the dead letters.
            await self._insert(batch.records, insert_token(batch.records))
            # Step 2. Only then are they acknowledged.
            for acknowledge in batch.acknowledge:
                acknowledge()

    async def _next_batch(self) -> SinkBatch:
        async with self._changed:
            await self._changed.wait_for(lambda: self._filling.acknowledge)
            due_in_s = self._filling.due_in_s(self._limits, time.monotonic())
            with suppress(TimeoutError):
                async with asyncio.timeout(due_in_s):
                    await self._changed.wait_for(lambda: self._filling.is_full(self._limits))
            batch, self._filling = self._filling, SinkBatch()
            self._changed.notify_all()
            return batch

    async def _insert(self, records: Sequence[RawRecord], token: str) -> None:
        rows = [row for record in records if (row := self._row(record)) is not None]
        try:
            if rows:
                await self._insert_when_possible(rows, token)
        except BadRows as error:
            await self._isolate(records, token, error)

    async def _insert_when_possible(self, rows: Sequence[bytes], token: str) -> None:
        async for attempt in until_possible(StoreUnavailable, self._pulse):
            with attempt:
                await asyncio.to_thread(self._store.insert, self.table, rows, token)

    async def _isolate(self, records: Sequence[RawRecord], token: str, error: BadRows) -> None:
        """Find the bad rows by halving: the good ones are stored, each bad one becomes a dead letter."""
        if len(records) == 1:
            await self._reject(records[0], error)
            return
        middle = len(records) // 2
        await self._insert(records[:middle], f"{token}<")
        await self._insert(records[middle:], f"{token}>")

    async def _reject(self, record: RawRecord, error: BadRows) -> None:
        if record.topic == REJECTED:
            raise error  # the row of a dead letter is of our own making
        letter = dead_letter(record, Rejected("sink", Reason.STORE_REFUSED, f"code {error.code}: {error}"))
        await self._producer.send(REJECTED, record.partition, [letter])
