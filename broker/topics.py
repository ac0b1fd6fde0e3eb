"""Makes the topics, and says where those that are there differ from what is needed.

Never alters or deletes a topic: what is wrong is told, with the command that mends it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError, NoError, TopicAlreadyExistsError, for_code

from broker.connection import client_options, why_unreachable
from broker.errors import BrokerUnavailable, broker_error
from pipeline.settings import Settings
from topics.names import RAW, TOPICS, Cleanup, Topic

# A stitched event holds its client's bytes and what was read out of them.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

_FOREVER_MS = -1
_VISIBLE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as it stands: its partition count, whether each partition has a leader, and its configuration."""

    partitions: int
    has_leaders: bool
    config: dict[str, str]


async def create_topics(settings: Settings) -> list[str]:
    """Create the topics that are missing, wait until they can be written, and return the names of those created.

    Safe when several processes do it at once. Data topics take the partition count of those that are there already.
    Raises BrokerUnavailable or BrokerRefused.
    """
    async with _admin(settings) as admin:
        found = await _topics(admin)
        missing = [topic for topic in TOPICS if topic.name not in found]
        created = await _create(admin, [_new_topic(topic, found, settings) for topic in missing]) if missing else []
        await _wait_until_writable(admin, [topic.name for topic in TOPICS])
        return created


async def check_topics(settings: Settings) -> list[str]:
    """Every way in which the topics are not as needed, a sentence each: what, where, how to mend it.

    Raises BrokerUnavailable or BrokerRefused.
    """
    async with _admin(settings) as admin:
        found = await _topics(admin, with_config=True)
    return list(problems(found, settings))


def problems(found: dict[str, Found], settings: Settings) -> Iterator[str]:
    """What `check_topics` says, from what it found."""
    partitions = _data_partitions(found, settings)
    for topic in TOPICS:
        if topic.name not in found:
            yield f"{topic.name} is missing: run `whipstitch topics create`"
            continue
        yield from _partition_problems(topic, found[topic.name], partitions)
        yield from _config_problems(topic, found[topic.name].config, settings)


def _partition_problems(topic: Topic, found: Found, data_partitions: int) -> Iterator[str]:
    wanted = data_partitions if topic.partitions == "data" else topic.partitions
    if found.partitions == wanted:
        return
    if topic.partitions != "data":
        yield f"{topic.name} has {found.partitions} partitions, must have {wanted}: its order is lost; create it anew"
    elif found.partitions < wanted:
        yield (
            f"{topic.name} has {found.partitions} partitions and {RAW} has {wanted}, and they must agree: with the "
            f"workers stopped, run `kafka-topics.sh --alter --topic {topic.name} --partitions {wanted}`"
        )
    else:
        yield (
            f"{topic.name} has {found.partitions} partitions and {RAW} has {wanted}, and they must agree: "
            f"delete {topic.name}, run `whipstitch topics create`, and replay"
        )


def _config_problems(topic: Topic, config: dict[str, str], settings: Settings) -> Iterator[str]:
    policy = config.get("cleanup.policy", "")
    if policy != topic.cleanup:
        yield f"{topic.name} has cleanup.policy={policy}: {_alter(topic, 'cleanup.policy', topic.cleanup)}"
    wanted_ms, has_ms = settings.raw_retention_s * 1000, int(config.get("retention.ms", _FOREVER_MS))
    if topic.cleanup is Cleanup.DELETE and _FOREVER_MS != has_ms < wanted_ms:
        yield (
            f"{topic.name} keeps records {has_ms // 1000} s and must keep them {settings.raw_retention_s} s: "
            f"{_alter(topic, 'retention.ms', wanted_ms)}"
        )
    has_bytes = int(config.get("retention.bytes", _FOREVER_MS))
    if topic.cleanup is Cleanup.DELETE and has_bytes != _FOREVER_MS:
        yield (
            f"{topic.name} drops records beyond {has_bytes} bytes a partition: {_alter(topic, 'retention.bytes', -1)}"
        )
    max_bytes = int(config.get("max.message.bytes", MAX_MESSAGE_BYTES))
    if max_bytes < MAX_MESSAGE_BYTES:
        yield (
            f"{topic.name} refuses batches over {max_bytes} bytes: "
            f"{_alter(topic, 'max.message.bytes', MAX_MESSAGE_BYTES)}"
        )


def _alter(topic: Topic, name: str, value: object) -> str:
    return f"run `kafka-configs.sh --alter --entity-type topics --entity-name {topic.name} --add-config {name}={value}`"


def _new_topic(topic: Topic, found: dict[str, Found], settings: Settings) -> NewTopic:
    partitions = _data_partitions(found, settings) if topic.partitions == "data" else topic.partitions
    config = {"cleanup.policy": str(topic.cleanup), "max.message.bytes": str(MAX_MESSAGE_BYTES)}
    if topic.cleanup is Cleanup.DELETE:
        config |= {"retention.ms": str(settings.raw_retention_s * 1000), "retention.bytes": "-1"}
    return NewTopic(topic.name, partitions, settings.replication, topic_configs=config)


def _data_partitions(found: dict[str, Found], settings: Settings) -> int:
    """The count that all data topics must have: that of `events.raw`, else of any that is there, else the setting."""
    counts = [found[topic.name].partitions for topic in TOPICS if topic.partitions == "data" and topic.name in found]
    return counts[0] if counts else settings.partitions


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        yield admin
    except KafkaConnectionError:
        raise await why_unreachable(settings) from None
    except KafkaError as error:
        raise broker_error("read or create topics", error) from error
    finally:
        await admin.close()


async def _topics(admin: AIOKafkaAdminClient, with_config: bool = False) -> dict[str, Found]:
    """Those of our topics that are there. Lists all, since to ask for one by name could create it."""
    ours = {topic.name for topic in TOPICS}
    described = [topic for topic in await admin.describe_topics() if topic["topic"] in ours]
    configs = await _configs(admin, [topic["topic"] for topic in described]) if with_config else {}
    return {
        topic["topic"]: Found(
            partitions=len(topic["partitions"]),
            has_leaders=all(partition["leader"] >= 0 for partition in topic["partitions"]),
            config=configs.get(topic["topic"], {}),
        )
        for topic in described
        if topic["partitions"]
    }


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {}
    responses: list[Any] = await admin.describe_configs(wanted)
    for response in responses:
        for code, message, _, name, entries in response.resources:
            if code != NoError.errno:
                raise for_code(code)(f"{name}: {message}")
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return configs


async def _create(admin: AIOKafkaAdminClient, new_topics: list[NewTopic]) -> list[str]:
    response: Any = await admin.create_topics(new_topics)
    created = []
    for name, code, message in response.topic_errors:
        if code == NoError.errno:
            created.append(name)
        elif code != TopicAlreadyExistsError.errno:
            raise for_code(code)(f"{name}: {message}")
    return created


async def _wait_until_writable(admin: AIOKafkaAdminClient, names: Iterable[str]) -> None:
    """The broker answers before every other broker, or even itself, knows of a new topic."""
    try:
        async with asyncio.timeout(_VISIBLE_TIMEOUT_S):
            while True:
                found = await _topics(admin)
                if all(name in found and found[name].has_leaders for name in names):
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise BrokerUnavailable(
            f"created topics have no leader after {_VISIBLE_TIMEOUT_S:g} s; are all brokers up?"
        ) from None
