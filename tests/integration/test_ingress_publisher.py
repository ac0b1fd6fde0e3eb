"""What stands between requests and the broker, in front of a real broker that is paused and goes on."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from broker.producer import DurableProducer
from broker.topics import create_topics
from embedded.kafka import RunningKafka
from ingress.errors import Problem
from ingress.publisher import Publisher, PublishLimits
from pipeline.settings import Settings
from tests.integration.ingress_process import pausable_kafka
from tests.pausing import paused
from topics.names import RAW
from topics.records import Record

NOW_MS = 1_790_000_000_000


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKafka]:
    with pausable_kafka(tmp_path_factory.mktemp("publisher-kafka")) as kafka:
        asyncio.run(create_topics(settings_for(kafka)))
        yield kafka


def settings_for(kafka: RunningKafka) -> Settings:
    return Settings.model_validate({"kafka": kafka.bootstrap, "partitions": 2})


def publishing(kafka: RunningKafka, limits: PublishLimits, steps: Callable[[Publisher], Awaitable[None]]) -> None:
    async def bounded() -> None:
        producer = DurableProducer(settings_for(kafka))
        await producer.start()
        publisher = Publisher(producer, RAW, await producer.partitions(RAW), limits)
        try:
            async with asyncio.timeout(60):
                await steps(publisher)
        finally:
            await publisher.close()
            await producer.stop()

    asyncio.run(bounded())


def record(key: bytes, size: int = 10) -> Record:
    return key, bytes(size), NOW_MS, ()


def test_bytes_that_wait_are_bounded_and_given_back(own_kafka: RunningKafka) -> None:
    async def steps(publisher: Publisher) -> None:
        with paused(own_kafka.process):
            waiting = asyncio.create_task(publisher.publish([record(b"a", 20_000)]))
            await asyncio.sleep(0)
            assert await publisher.publish([record(b"b")]) is Problem.OVERLOADED
        assert await waiting is None
        assert await publisher.publish([record(b"b")]) is None

    publishing(own_kafka, PublishLimits(max_wait_s=30, max_waiting_bytes=10_000), steps)


def test_partition_that_does_not_confirm_refuses_at_once_until_it_does(own_kafka: RunningKafka) -> None:
    async def steps(publisher: Publisher) -> None:
        with paused(own_kafka.process):
            assert await publisher.publish([record(b"a")]) is Problem.KAFKA_SLOW
            assert len(publisher.stuck_partitions) == 1
            at_once = asyncio.ensure_future(publisher.publish([record(b"a")]))
            await asyncio.sleep(0)
            assert at_once.done()
            assert at_once.result() is Problem.KAFKA_SLOW
        outcome: Problem | None = Problem.KAFKA_SLOW
        while outcome is not None:
            await asyncio.sleep(0)
            outcome = await publisher.publish([record(b"a"), record(b"b"), record(b"c")])
        assert publisher.stuck_partitions == []

    publishing(own_kafka, PublishLimits(max_wait_s=0.2), steps)


def test_what_was_refused_while_it_waited_its_turn_is_not_sent_later(own_kafka: RunningKafka) -> None:
    """So that memory does not grow with each attempt of each client while the broker is away."""

    async def steps(publisher: Publisher) -> None:
        with paused(own_kafka.process):
            first = asyncio.create_task(publisher.publish([record(b"a", 6_000)]))
            for _ in range(10):
                await asyncio.sleep(0)  # until the first is under way, the second behind it
            second = asyncio.create_task(publisher.publish([record(b"a", 6_000)]))
            assert await first is Problem.KAFKA_SLOW
            assert await second is Problem.KAFKA_SLOW
            assert await publisher.publish([record(b"a")]) is Problem.KAFKA_SLOW, "10,000 bytes are not held any more"

    publishing(own_kafka, PublishLimits(linger_s=0, max_wait_s=0.3, max_waiting_bytes=10_000), steps)


def test_nothing_to_publish_is_published(own_kafka: RunningKafka) -> None:
    async def steps(publisher: Publisher) -> None:
        assert await publisher.publish([]) is None

    publishing(own_kafka, PublishLimits(), steps)


def test_bug_while_sending_is_not_taken_for_an_outage(own_kafka: RunningKafka) -> None:
    async def steps(publisher: Publisher) -> None:
        no_bytes: Record = (b"a", "text", NOW_MS, ())  # type: ignore[assignment]
        waiting = asyncio.create_task(publisher.publish([no_bytes]))
        with pytest.raises(TypeError):
            await publisher.crashed
        assert await waiting is Problem.KAFKA_SLOW

    publishing(own_kafka, PublishLimits(max_wait_s=0.2), steps)
