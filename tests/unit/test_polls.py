"""How long a poll may last: while an agent's queue holds partitions back, it hears nothing of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from faust.types import TP

from agents.app import new_app
from agents.transport import BatchConsumer
from pipeline import settings

SETTINGS = settings.load({"WHIPSTITCH_KAFKA": "127.0.0.1:1", "WHIPSTITCH_STORE": "http://127.0.0.1:1/whipstitch"})
RAW = TP("events.raw", 0)


@asynccontextmanager
async def consumer() -> AsyncIterator[BatchConsumer]:
    made = new_app(SETTINGS, partitions=1).consumer
    assert isinstance(made, BatchConsumer)
    yield made
    made._thread.thread_loop.close()


def test_a_poll_is_short_while_a_queue_is_full() -> None:
    async def longest_polls_s() -> list[float]:
        async with consumer() as polling:
            polling.app.rebalancing = False
            before = polling._longest_poll_s(1.0)
            polling.on_buffer_full(RAW)
            while_full = polling._longest_poll_s(1.0)
            polling.on_buffer_drop(RAW)
            return [before, while_full, polling._longest_poll_s(1.0)]

    before, while_full, after = asyncio.run(longest_polls_s())
    assert (before, after) == (1.0, 1.0)
    assert while_full < 0.1


def test_a_fetch_waits_less_than_fausts_own() -> None:
    async def longest_fetch_ms() -> int:
        async with consumer() as polling:
            made = polling._thread._create_worker_consumer(polling.transport)
            return int(made._fetch_max_wait_ms)

    assert asyncio.run(longest_fetch_ms()) < 500
