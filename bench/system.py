"""The system that turns are taken on: a Kafka and a store of their own, a preloaded `events.raw`, and back to that.

Between two turns everything is removed that a turn may have left: topics but `events.raw`, what the workers' group has
committed, and the store's databases. So each turn finds what the first one found.
"""

import asyncio
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code
from tenacity import retry, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from bench import load
from broker.connection import client_options
from broker.control import write_control
from broker.producer import DurableProducer
from broker.topics import create_topics
from embedded.kafka import start_kafka
from embedded.store import start_store
from pipeline import settings
from pipeline.settings import Settings
from store.client import Store, open_store
from store.columns import quoted
from store.migrate import migrate
from topics.control import Project
from topics.names import PROJECTS, RAW, TOPICS, WORKER_GROUP
from topics.records import Record

_WRITE_AT_ONCE = 5000
_FOREVER_S = 100 * 365 * 86_400
_GONE_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.05
_STAYS = {RAW, PROJECTS}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What `events.raw` holds: so many events, so many of them with a messageId of their own."""

    events: int
    different: int


@dataclass(frozen=True, slots=True)
class System:
    """`settings` have concrete addresses. `folder` is for what turns write on disk."""

    settings: Settings
    kafka: psutil.Process
    store: psutil.Process
    folder: Path

    def preload(self, count: int, *, is_even: bool = False) -> Loaded:
        """`is_even`: all partitions hold about as much."""
        return asyncio.run(_preload(self.settings, count, is_even))

    def reset(self) -> None:
        """Everything is as it was when `events.raw` had just been written. No turn may be running."""
        with closing(open_store(self.settings.store)) as store:
            _drop_databases(store)
            migrate(store)
        asyncio.run(_reset_kafka(self.settings))

    def is_right(self, loaded: Loaded) -> bool:
        """The promise: each different message is stored, once."""
        with closing(open_store(self.settings.store)) as store:
            return stored_once(store, loaded)


@contextmanager
def system() -> Iterator[System]:
    """A fresh Kafka and store, with all topics, tables, and one project. Gone afterwards."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        kafka = start_kafka(folder, None, None, say)
        try:
            store = start_store(folder, say, preferred_port=None)
            try:
                configured = _settings(kafka.bootstrap, store.url, folder)
                _prepare(configured)
                yield System(configured, psutil.Process(kafka.process.pid), psutil.Process(store.process.pid), folder)
            finally:
                store.stop()
        finally:
            kafka.stop()


def stored_once(store: Store, loaded: Loaded) -> bool:
    """Whether a store's `events` has each different message, and no repeat of any."""
    [row] = store.query("SELECT count() AS stored, uniqExact(message_id) AS different FROM events")
    kept: bool = row["stored"] == row["different"] == loaded.different
    if not kept:
        say(f"WRONG: stored {row['stored']:,}, different {row['different']:,}, sent {loaded.different:,}")
    return kept


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _settings(kafka: str, store: str, folder: Path) -> Settings:
    """The load's events are of one day in 2026, whenever it is drained: Kafka must not find them too old."""
    return settings.load({}, folder / "none", kafka=kafka, store=store, data=folder, raw_retention_s=_FOREVER_S)


def _prepare(configured: Settings) -> None:
    asyncio.run(create_topics(configured))
    asyncio.run(write_control(configured, [Project(load.PROJECT, 0)]))
    with closing(open_store(configured.store)) as store:
        migrate(store)


async def _preload(configured: Settings, count: int, is_even: bool) -> Loaded:
    seen: set[bytes] = set()

    def noted() -> Iterator[tuple[int, Record]]:
        for partition, record in load.records(count, configured.partitions, is_even=is_even):
            seen.add(record[3][0][1].split(b'"received_at_ms"')[0])
            yield partition, record

    await publish(configured, RAW, noted())
    say(f"preloaded {count:,} events, {len(seen):,} of them different")
    return Loaded(count, len(seen))


async def publish(configured: Settings, topic: str, placed: Iterable[tuple[int, Record]]) -> None:
    """Write records, each with its partition, to a topic."""
    producer = DurableProducer(configured)
    await producer.start()
    waiting: defaultdict[int, list[Record]] = defaultdict(list)
    for partition, record in placed:
        waiting[partition].append(record)
        if len(waiting[partition]) == _WRITE_AT_ONCE:
            await producer.send(topic, partition, waiting.pop(partition))
    for partition, records in waiting.items():
        await producer.send(topic, partition, records)
    await producer.stop()


def _drop_databases(store: Store) -> None:
    """All but the engine's own; of `default`, what is in it. Shadows of replays first: without the database that the
    connection is for, no statement is taken, and theirs begin with its name."""
    kept = "name NOT IN ('default', 'system', 'information_schema', 'INFORMATION_SCHEMA')"
    for row in store.query(f"SELECT name FROM system.databases WHERE {kept} ORDER BY name DESC"):
        store.command(f"DROP DATABASE {quoted(row['name'])} SYNC")
    store.create_database()
    for row in store.query("SELECT name FROM system.tables WHERE database = 'default'"):
        store.command(f"DROP TABLE default.{quoted(row['name'])} SYNC")


async def _reset_kafka(configured: Settings) -> None:
    admin = AIOKafkaAdminClient(**client_options(configured))
    await admin.start()
    try:
        await _delete_topics(admin)
    finally:
        await admin.close()
    await create_topics(configured)
    await _rewind(configured)


@retry(stop=stop_after_delay(_GONE_WITHIN_S), wait=wait_fixed(_LOOK_EVERY_S), retry=retry_if_exception_type(KafkaError))
async def _rewind(configured: Settings) -> None:
    """The workers' group has done nothing. Refused for as long as a worker that was killed counts as its member."""
    consumer = AIOKafkaConsumer(**client_options(configured), group_id=WORKER_GROUP, enable_auto_commit=False)
    await consumer.start()
    try:
        topics = {topic.name: configured.partitions if topic.partitions == "data" else 1 for topic in TOPICS}
        partitions = [TopicPartition(topic, n) for topic, count in topics.items() for n in range(count)]
        consumer.assign(partitions)
        await consumer.commit(dict.fromkeys(partitions, 0))
    finally:
        await consumer.stop()


async def _delete_topics(admin: AIOKafkaAdminClient) -> None:
    names = await _spare_topics(admin)
    if names:
        response = await admin.delete_topics(names)
        for name, code, *_ in response.topic_error_codes:
            if code:
                raise for_code(code)(name)
    await _until_gone(admin)


@retry(stop=stop_after_delay(_GONE_WITHIN_S), wait=wait_fixed(_LOOK_EVERY_S), retry=retry_if_result(bool))
async def _until_gone(admin: AIOKafkaAdminClient) -> list[str]:
    return await _spare_topics(admin)


async def _spare_topics(admin: AIOKafkaAdminClient) -> list[str]:
    """`__consumer_offsets` and its like are Kafka's own."""
    return [name for name in await admin.list_topics() if name not in _STAYS and not name.startswith("__")]
