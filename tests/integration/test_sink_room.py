"""Who fills a sink can wait until it has room, but not for a store that is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from uuid import uuid4

from agents.retry import Pulse
from agents.sink import Sink
from broker.producer import DurableProducer
from broker.scan import records_of
from embedded import process
from pipeline.batch import BatchLimits
from pipeline.rows import rows_as_they_are
from store.client import open_store
from tests.fixtures.system import System
from tests.integration.test_handing_over import stitched
from tests.records import TestRecord

LONG_S = 3600.0  # longer than any test may take


@asynccontextmanager
async def running_sink(system: System, store: str) -> AsyncIterator[Sink]:
    """One row makes it full."""
    opened, producer = open_store(store), DurableProducer(system.settings)
    read_again = partial(records_of, system.settings)
    limits = BatchLimits(max_rows=1, max_bytes=1 << 20, max_wait_s=0.01)
    sink = Sink("events_stored", opened, producer, read_again, limits, rows_as_they_are, Pulse())
    running = asyncio.create_task(sink.run())
    try:
        yield sink
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await producer.stop()
        opened.close()


def offer(sink: Sink, record: TestRecord) -> bool:
    return sink.offer([record], lambda: None)


def test_after_a_wait_there_is_room(system: System) -> None:
    project = f"{uuid4().hex[:8]}.p"

    async def offered() -> list[bool]:
        async with running_sink(system, system.settings.store) as sink:
            taken = []
            for n in range(5):
                await sink.room(LONG_S)
                taken.append(offer(sink, stitched(project, f"m{n}")))
            await sink.room(LONG_S)
            return taken

    assert asyncio.run(offered()) == [True] * 5


def test_a_store_that_is_away_is_waited_for_once(system: System) -> None:
    async def refused() -> bool:
        async with running_sink(system, f"http://127.0.0.1:{process.free_port()}") as sink:
            record = stitched("p", "m")
            for _ in range(2):  # one that is being inserted, and one that fills
                await sink.take([record], lambda: None)
            await sink.room(0.01)
            await sink.room(LONG_S)
            return offer(sink, record)

    assert asyncio.run(refused()) is False
