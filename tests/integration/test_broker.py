"""What talks to Kafka, against a real broker."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tenacity import AsyncRetrying, retry_if_result, stop_after_delay, wait_fixed

from broker.connection import client_options, stop_consumer, why_unreachable
from broker.control import DirectoryFollower, Progress, load_directory, remove_control, write_control
from broker.errors import BrokerError, BrokerRefused, BrokerUnavailable, broker_error
from broker.producer import DurableProducer
from broker.topics import MAX_MESSAGE_BYTES, Found, check_topics, create_topics, problems
from embedded.kafka import RunningKafka, start_kafka
from pipeline.settings import Settings
from tests.integration.ingress_process import free_port, pausable_kafka
from tests.pausing import paused
from tests.waiting import eventually
from topics.control import Key, Project, key_hash, key_hint, new_key
from topics.names import PROJECTS, RAW, STITCHED, TOPICS, Cleanup
from topics.records import Record

NOW_MS = 1_790_000_000_000

_Result = TypeVar("_Result")


def run(steps: Coroutine[Any, Any, _Result]) -> _Result:
    """Run the steps, and fail rather than hang."""

    async def bounded() -> _Result:
        async with asyncio.timeout(60):
            return await steps

    return asyncio.run(bounded())


def settings_for(bootstrap: str, **values: object) -> Settings:
    return Settings.model_validate({"kafka": bootstrap, "partitions": 3, **values})


@pytest.fixture(scope="module")
def settings(kafka: RunningKafka) -> Settings:
    return settings_for(kafka.bootstrap)


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKafka]:
    """A broker that these tests may pause, without topics at first: the tests that need it so come first."""
    with pausable_kafka(tmp_path_factory.mktemp("own-kafka")) as kafka:
        yield kafka


@pytest.fixture
def topic(settings: Settings, topic_prefix: str) -> str:
    name = f"{topic_prefix}records"
    run(make_topic(settings, name, partitions=2))
    return name


async def make_topic(settings: Settings, name: str, partitions: int, **config: str) -> None:
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=config)])
    await admin.close()


async def read_all(settings: Settings, topic: str, partition: int = 0) -> list[ConsumerRecord[Any, Any]]:
    at = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(**client_options(settings), auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([at])
        end = (await consumer.end_offsets([at]))[at]
        found: list[ConsumerRecord[Any, Any]] = []
        while await consumer.position(at) < end:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += records
        return found
    finally:
        await consumer.stop()


def numbered(count: int, size: int = 10) -> list[Record]:
    return [(b"%d" % n, b"%0*d" % (size, n), NOW_MS + n, (("h", b"%d" % n),)) for n in range(count)]


def test_records_arrive_as_given_and_the_offset_behind_the_last_is_returned(settings: Settings, topic: str) -> None:
    async def steps() -> None:
        producer = DurableProducer(settings)
        await producer.start()
        assert await producer.send(topic, 1, numbered(5)) == 5
        assert await producer.send(topic, 1, [(b"k", None, NOW_MS, ())]) == 6
        await producer.stop()
        found = await read_all(settings, topic, 1)
        sent = [*numbered(5), (b"k", None, NOW_MS, ())]
        assert [(each.key, each.value, each.timestamp, tuple(each.headers)) for each in found] == sent
        assert await read_all(settings, topic, 0) == []

    run(steps())


def test_more_than_a_batch_holds_arrives_whole_and_in_order(settings: Settings, topic: str) -> None:
    records = numbered(4000, size=1000)

    async def steps() -> None:
        producer = DurableProducer(settings)
        assert await producer.send(topic, 0, records) == 4000
        await producer.stop()
        assert [each.value for each in await read_all(settings, topic)] == [record[1] for record in records]

    run(steps())


def test_record_larger_than_a_batch_goes_alone_and_one_too_large_is_refused_without_harm(
    settings: Settings, topic_prefix: str
) -> None:
    name = f"{topic_prefix}large"
    large, too_large = os.urandom(2_000_000), os.urandom(MAX_MESSAGE_BYTES + 1)

    async def steps() -> None:
        await make_topic(settings, name, 1, **{"max.message.bytes": str(MAX_MESSAGE_BYTES)})
        producer = DurableProducer(settings)
        assert await producer.send(name, 0, [*numbered(1), (b"k", large, NOW_MS, ()), *numbered(1)]) == 3
        with pytest.raises(BrokerRefused, match=r"max\.message\.bytes"):
            await producer.send(name, 0, [(b"k", too_large, NOW_MS, ())])
        assert await producer.send(name, 0, numbered(2)) == 5
        await producer.stop()
        assert (await read_all(settings, name))[1].value == large

    run(steps())


@pytest.mark.parametrize("turns", range(8))
def test_consumer_stops_whatever_its_fetcher_does_since_other_partitions_were_assigned(
    settings: Settings, topic: str, turns: int
) -> None:
    async def steps() -> None:
        consumer = AIOKafkaConsumer(**client_options(settings), auto_offset_reset="earliest", enable_auto_commit=False)
        await consumer.start()
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.getmany(timeout_ms=200)  # nothing: a fetch is on its way now
        consumer.assign([TopicPartition(topic, 1)])
        for _ in range(turns):  # of the event loop
            await asyncio.sleep(0)
        stopped, _ = await asyncio.wait([asyncio.create_task(stop_consumer(consumer))], timeout=30)
        assert stopped

    run(steps())


def test_nothing_to_send_is_our_own_mistake(settings: Settings, topic: str) -> None:
    async def steps() -> None:
        with pytest.raises(ValueError, match="no records"):
            await DurableProducer(settings).send(topic, 0, [])

    run(steps())


def test_partitions_are_counted_and_a_missing_topic_is_refused(settings: Settings, topic: str) -> None:
    async def steps() -> None:
        producer = DurableProducer(settings)
        assert await producer.partitions(topic) == 2
        await producer.check(topic, timeout_s=10)
        with pytest.raises(BrokerRefused, match="no topic missing; run `whipstitch topics create`"):
            await producer.partitions("missing")
        await producer.stop()

    run(steps())


def test_absent_broker_is_unavailable_and_says_where() -> None:
    settings = settings_for(f"127.0.0.1:{free_port()}")

    async def steps() -> None:
        producer = DurableProducer(settings)
        for attempt in (producer.start(), create_topics(settings), check_topics(settings), load_directory(settings)):
            with pytest.raises(BrokerUnavailable, match=settings.kafka):
                await attempt
        await producer.stop()
        assert isinstance(await why_unreachable(settings), BrokerUnavailable)

    run(steps())


def test_ca_file_that_cannot_be_read_is_refused_by_name() -> None:
    settings = settings_for("k:1", kafka_security_protocol="SSL", kafka_security_ca_file="/nowhere/ca.pem")
    with pytest.raises(BrokerRefused, match=r"/nowhere/ca\.pem.*WHIPSTITCH_KAFKA_SECURITY_CA_FILE"):
        client_options(settings)


def test_sasl_and_tls_settings_reach_the_client() -> None:
    secured = {
        "kafka_security_protocol": "SASL_SSL",
        "kafka_security_mechanism": "SCRAM-SHA-512",
        "kafka_security_username": "u",
        "kafka_security_password": "p",
    }
    options = client_options(settings_for("a:1, b:2", **secured))
    assert options.pop("ssl_context").verify_mode.name == "CERT_REQUIRED"
    assert options == {
        "bootstrap_servers": ["a:1", "b:2"],
        "client_id": "whipstitch",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "u",
        "sasl_plain_password": "p",
    }


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (kafka_errors.SaslAuthenticationFailed(), BrokerRefused),
        (kafka_errors.TopicAuthorizationFailedError(), BrokerRefused),
        (kafka_errors.MessageSizeTooLargeError(), BrokerRefused),
        (kafka_errors.UnknownTopicOrPartitionError(), BrokerRefused),
        (kafka_errors.NotEnoughReplicasError(), BrokerUnavailable),
        (kafka_errors.LeaderNotAvailableError(), BrokerUnavailable),
        (kafka_errors.OutOfOrderSequenceNumber(), BrokerUnavailable),
        (kafka_errors.KafkaTimeoutError(), BrokerUnavailable),
    ],
    ids=lambda each: each.__name__ if isinstance(each, type) else type(each).__name__,
)
def test_error_says_by_its_class_whether_to_try_again(error: kafka_errors.KafkaError, kind: type[BrokerError]) -> None:
    told = broker_error("write to events.raw", error)
    assert type(told) is kind
    assert str(told).startswith("cannot write to events.raw: ")


def test_control_without_its_topic_is_refused(own_kafka: RunningKafka) -> None:

    async def steps() -> None:
        for attempt in (
            write_control(settings_for(own_kafka.bootstrap), []),
            load_directory(settings_for(own_kafka.bootstrap)),
        ):
            with pytest.raises(BrokerRefused, match="topics create"):
                await attempt

    run(steps())


def test_topics_are_created_once_though_two_do_it_at_once(own_kafka: RunningKafka) -> None:
    settings = settings_for(own_kafka.bootstrap)

    async def steps() -> None:
        assert sorted(await check_topics(settings)) == sorted(
            f"{topic.name} is missing: run `whipstitch topics create`" for topic in TOPICS
        )
        await make_topic(settings, STITCHED, partitions=5, **{"retention.ms": "1000", "max.message.bytes": "1000000"})
        first, second = await asyncio.gather(create_topics(settings), create_topics(settings))
        assert sorted(first + second) == sorted(topic.name for topic in TOPICS if topic.name != STITCHED)
        producer = DurableProducer(settings)
        assert await producer.partitions(RAW) == 5, "data topics take the count of the one that was there"
        assert await producer.partitions(PROJECTS) == 1
        await producer.stop()
        assert await create_topics(settings) == []
        told = await check_topics(settings)
        assert [problem.split(" ", 1)[0] for problem in told] == [STITCHED] * 2
        assert "--add-config retention.ms=" in told[0]
        assert "--add-config max.message.bytes=" in told[1]

    run(steps())


def as_needed(settings: Settings) -> dict[str, Found]:
    retention_ms = {Cleanup.DELETE: settings.raw_retention_s * 1000, Cleanup.COMPACT: 7 * 86_400_000}
    return {
        topic.name: Found(
            partitions=1 if topic.partitions == 1 else 3,
            has_leaders=True,
            config={
                "cleanup.policy": topic.cleanup,
                "retention.ms": str(retention_ms[topic.cleanup]),
                "retention.bytes": "-1",
                "max.message.bytes": str(MAX_MESSAGE_BYTES),
            },
        )
        for topic in TOPICS
    }


WRONG: dict[str, tuple[str, dict[str, str] | int, str]] = {
    "fewer partitions": (STITCHED, 2, "kafka-topics.sh --alter --topic events.stitched --partitions 3"),
    "more partitions": (STITCHED, 4, "delete events.stitched"),
    "two control partitions": (PROJECTS, 2, "create it anew"),
    "short retention": (RAW, {"retention.ms": "1000"}, "must keep them 31536000 s"),
    "bounded size": (RAW, {"retention.bytes": "1000"}, "retention.bytes=-1"),
    "compacted data": (RAW, {"cleanup.policy": "compact"}, "cleanup.policy=delete"),
    "control that expires": (PROJECTS, {"cleanup.policy": "delete"}, "cleanup.policy=compact"),
    "both policies": (PROJECTS, {"cleanup.policy": "compact,delete"}, "cleanup.policy=compact"),
    "small messages": (RAW, {"max.message.bytes": "1048588"}, f"max.message.bytes={MAX_MESSAGE_BYTES}"),
}


@pytest.mark.parametrize(("name", "change", "told"), WRONG.values(), ids=WRONG)
def test_topic_that_is_not_as_needed_is_told_with_what_mends_it(
    name: str, change: dict[str, str] | int, told: str
) -> None:
    settings = settings_for("k:1")
    found = as_needed(settings)
    assert list(problems(found, settings)) == []
    partitions = change if isinstance(change, int) else found[name].partitions
    config = found[name].config | (change if isinstance(change, dict) else {})
    (problem,) = problems({**found, name: Found(partitions, True, config)}, settings)
    assert problem.startswith(f"{name} ")
    assert told in problem


@pytest.mark.parametrize("retention_ms", ["-1", "99999999999999"])
def test_longer_retention_than_needed_is_no_problem(retention_ms: str) -> None:
    settings = settings_for("k:1")
    found = as_needed(settings)
    found[RAW].config["retention.ms"] = retention_ms
    assert list(problems(found, settings)) == []


def a_key() -> tuple[str, Key]:
    secret = new_key("secret")
    return secret, Key(key_hash(secret), key_hint(secret), "shop", "secret", 1)


async def until(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    await asyncio.to_thread(eventually, lambda: bool(condition()), what, timeout_s)


def test_what_is_written_to_control_is_in_the_directory(settings: Settings) -> None:
    secret, key = a_key()
    shop = Project("shop", 1)

    async def steps() -> None:
        await create_topics(settings)
        await write_control(settings, [shop, key])
        directory = await load_directory(settings)
        assert directory.key_for(secret) == key
        assert directory.projects["shop"] == shop
        await remove_control(settings, key)
        assert (await load_directory(settings)).key_for(secret) is None

    run(steps())


def test_follower_sees_a_change_within_a_second(settings: Settings) -> None:
    secret, key = a_key()

    async def steps() -> None:
        await create_topics(settings)
        follower = DirectoryFollower(settings)
        await follower.start()
        before = follower.directory
        await write_control(settings, [key])
        await until(lambda: follower.directory.key_for(secret), "the key is there", timeout_s=1)
        await remove_control(settings, key)
        await until(lambda: follower.directory.key_for(secret) is None, "the key is gone", timeout_s=1)
        assert before.key_for(secret) is None
        await follower.stop()

    run(steps())


def test_producer_and_follower_outlive_a_restart_of_the_broker(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("restarted")
    first = start_kafka(folder, cache=None, java=None, progress=print)
    settings = settings_for(first.bootstrap)
    secret, key = a_key()

    async def steps() -> None:
        await create_topics(settings)
        producer, follower = DurableProducer(settings), DirectoryFollower(settings)
        await producer.start()
        await follower.start()
        await producer.send(RAW, 0, numbered(1))
        first.process.kill()
        first.stop()
        sending = asyncio.create_task(producer.send(RAW, 0, numbered(3)))
        second = await asyncio.to_thread(start_kafka, folder, None, None, print)
        try:
            assert second.bootstrap == first.bootstrap
            assert await sending == 4
            await write_control(settings, [key])
            await until(lambda: follower.directory.key_for(secret), "the key after the restart")
            assert [each.value for each in await read_all(settings, RAW)] == [
                r[1] for r in [*numbered(1), *numbered(3)]
            ]
            await follower.stop()
            await producer.stop()
        finally:
            await asyncio.to_thread(second.stop)

    run(steps())


def test_paused_broker_delays_records_and_writes_them_once(own_kafka: RunningKafka) -> None:
    settings = settings_for(own_kafka.bootstrap)

    async def steps() -> None:
        await create_topics(settings)
        producer = DurableProducer(settings)
        await producer.send(RAW, 0, numbered(1))
        with paused(own_kafka.process):
            sending = asyncio.create_task(producer.send(RAW, 0, numbered(3)))
            with pytest.raises(BrokerUnavailable, match="did not answer"):
                await producer.check(RAW, timeout_s=0.2)
            assert not sending.done()
        assert await sending == 4
        await producer.check(RAW, timeout_s=10)
        await producer.stop()
        assert len(await read_all(settings, RAW)) == 4

    run(steps())


TOLD_GONE = AsyncRetrying(
    retry=retry_if_result(lambda topics: PROJECTS in topics), wait=wait_fixed(0.05), stop=stop_after_delay(30)
)


def test_follower_whose_topic_is_gone_makes_itself_known(own_kafka: RunningKafka) -> None:
    settings = settings_for(own_kafka.bootstrap)

    async def steps() -> None:
        await create_topics(settings)
        await write_control(settings, [Project("shop", 1), Project("other", 1)])
        follower = DirectoryFollower(settings)
        await follower.start()
        admin = AIOKafkaAdminClient(**client_options(settings))
        await admin.start()
        await admin.delete_topics([PROJECTS])
        await TOLD_GONE(admin.list_topics)  # else it would be taken for one that need not be made
        await admin.close()
        await create_topics(settings)
        failure = await follower.failed()
        assert PROJECTS in str(failure)
        await follower.stop()

    run(steps())


PROGRESS: dict[str, tuple[Sequence[tuple[int, int, float]], str | None]] = {
    "nothing new": ([(5, 5, 2), (5, 5, 100)], None),
    "reading on": ([(6, 900, 2), (7, 900, 20), (8, 900, 40)], None),
    "short for a moment": ([(5, 6, 2), (5, 6, 11), (6, 6, 13), (6, 7, 30)], None),
    "standing still": ([(5, 6, 2), (5, 6, 11), (5, 7, 13)], "stands still at 5 of 7"),
    "gone back": ([(6, 6, 2), (0, 0, 4)], "made anew"),
}


@pytest.mark.parametrize(("checks", "told"), PROGRESS.values(), ids=PROGRESS)
def test_follower_that_stands_still_is_told_from_one_with_nothing_to_read(
    checks: Sequence[tuple[int, int, float]], told: str | None
) -> None:
    progress: Progress | BrokerError = Progress(5, 0.0)
    for position, end, now_s in checks:
        assert isinstance(progress, Progress)
        progress = progress.after(position, end, now_s)
    assert isinstance(progress, BrokerError) == (told is not None)
    assert told is None or told in str(progress)
    assert all(earlier[2] < later[2] for earlier, later in pairwise(checks))
