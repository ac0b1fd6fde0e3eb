"""What `doctor` looks at, one function a part. Each asks the world and leaves `Check`s; nothing is changed."""

import asyncio
import http.client
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from broker.connection import client_options, why_unreachable
from broker.errors import BrokerError, broker_error
from broker.topics import check_topics
from embedded.addresses import resolve
from embedded.errors import EmbeddedError
from embedded.process import read_run, run_file
from pipeline.settings import Settings
from store.client import open_store
from store.errors import StoreError
from store.migrate import pending
from topics.names import LINKS, RAW, REJECTED, STITCHED, WORKER_GROUP

LARGE_LAG = 100_000
LEAST_FREE_BYTES = 2 * 1024**3
LARGEST_CLOCK_DIFFERENCE_S = 5.0
READ_BY_WORKER = (RAW, STITCHED, LINKS, REJECTED)
_COMPILED = ("broker.record_codec", "pipeline.dialects.segment_plain", "pipeline.stamp_plain")


@dataclass(frozen=True, slots=True)
class Check:
    """`says` tells what was found and, where it is not well, how to mend it."""

    name: str
    is_well: bool
    says: str


def versions() -> Iterator[Check]:
    names = ("whipstitch", "faust-streaming", "aiokafka", "chdb", "clickhouse-driver")
    listed = ", ".join(f"{name} {version(name)}" for name in names)
    yield Check("versions", True, f"{listed}, Python {platform.python_version()} on {platform.platform(terse=True)}")


def compiled() -> Iterator[Check]:
    """Whether what whipstitch compiles is there; all is well without it, and slower."""
    is_there = all(map(find_spec, _COMPILED))
    mend = "no; a worker takes fewer events: install a C compiler and Python's headers (Debian: gcc, python3-dev)"
    yield Check("compiled", True, "yes" if is_there else f"{mend}, then whipstitch once more")


def disk(folder: Path) -> Iterator[Check]:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    is_well = free >= LEAST_FREE_BYTES and os.access(there, os.W_OK)
    mend = "" if is_well else "; free some space, give write access, or set WHIPSTITCH_DATA to another folder"
    yield Check("disk", is_well, f"{folder}: {free / 1024**3:.1f} GiB free{mend}")


def kafka(settings: Settings) -> Iterator[Check]:
    """Reachable, topics, lag. What needs Kafka is left out where it cannot be reached."""
    try:
        connected = resolve(settings, "kafka")
        brokers, lag = asyncio.run(_kafka_facts(connected))
        problems = asyncio.run(check_topics(connected))
    except (EmbeddedError, BrokerError) as error:
        yield Check("kafka", False, str(error))
        return
    yield Check("kafka", True, f"{connected.kafka}: {brokers} broker{'s' if brokers != 1 else ''}")
    for problem in problems:
        yield Check("topics", False, problem)
    if not problems:
        yield Check("topics", True, "all are as they must be")
    yield worker(lag)


def worker(lag: Mapping[str, int] | None) -> Check:
    """From the lag by topic, or None where no worker has a place in the group."""
    if lag is None:
        return Check("worker", False, "none runs; start one with `whipstitch worker` (or `whipstitch up`)")
    behind = ", ".join(f"{topic} {records}" for topic, records in lag.items())
    if max(lag.values()) > LARGE_LAG:
        return Check("worker", False, f"records behind: {behind}; look into its log, or start more workers")
    return Check("worker", True, f"records behind: {behind}")


def store(settings: Settings) -> Iterator[Check]:
    try:
        opened = open_store(resolve(settings, "store").store)
        asked_at_s = time.time()
        found = opened.query("SELECT version() AS version, toUnixTimestamp64Milli(now64(3)) AS now_ms")[0]
        answered_at_s = time.time()
        missing = pending(opened)
    except (EmbeddedError, StoreError) as error:
        yield Check("store", False, str(error))
        return
    yield Check(
        "store", True, f"ClickHouse {found['version']}, answered in {(answered_at_s - asked_at_s) * 1000:.0f} ms"
    )
    if missing:
        yield Check("tables", False, f"{len(missing)} migrations are missing; run `whipstitch migrate`")
    else:
        yield Check("tables", True, "of this version")
    yield clock("store", int(found["now_ms"]) / 1000 - (asked_at_s + answered_at_s) / 2)


def clock(of: str, ahead_s: float) -> Check:
    is_well = abs(ahead_s) <= LARGEST_CLOCK_DIFFERENCE_S
    mend = "" if is_well else "; set the clocks by NTP: receipt times and windows go by them"
    return Check("clock", is_well, f"the {of}'s is {abs(ahead_s):.1f} s {'ahead' if ahead_s > 0 else 'behind'}{mend}")


def ingress(settings: Settings) -> Iterator[Check]:
    """The one that `up` runs on this data folder, on whatever port, else the one of the settings."""
    run = read_run(run_file(settings.data, "ingress"))
    base = run.address if run else f"http://{settings.host}:{settings.port}"
    where = f"{base.replace('//0.0.0.0:', '//127.0.0.1:')}/health/ready"
    connection = http.client.HTTPConnection(where.split("/")[2], timeout=5)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        says = answer.read(1000).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        yield Check("ingress", False, f"{where}: {error}; start it with `whipstitch ingress` (or `whipstitch up`)")
        return
    finally:
        connection.close()
    yield Check("ingress", answer.status == 200, f"{where}: {answer.status} {says}")


async def _kafka_facts(settings: Settings) -> tuple[int, dict[str, int] | None]:
    """How many brokers there are, and how far the workers are behind, by topic."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    consumer = AIOKafkaConsumer(**client_options(settings), group_id=None)
    try:
        await admin.start()
        await consumer.start()
        cluster = await admin.describe_cluster()
        return len(cluster["brokers"]), await _lag(admin, consumer)
    except KafkaConnectionError:
        raise await why_unreachable(settings) from None
    except KafkaError as error:
        raise broker_error(f"ask Kafka at {settings.kafka}", error) from error
    finally:
        await consumer.stop()
        await admin.close()


async def _lag(admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> dict[str, int] | None:
    # A broker that never had a group has no coordinator to ask: look among those it knows first.
    if WORKER_GROUP not in {name for name, *_ in await admin.list_consumer_groups()}:
        return None
    [described_group] = (await admin.describe_consumer_groups([WORKER_GROUP]))[0].to_object()["groups"]
    if not described_group["members"]:
        return None
    committed = await admin.list_consumer_group_offsets(WORKER_GROUP)
    described = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
    lag = {}
    for topic in READ_BY_WORKER:
        partitions = [TopicPartition(topic, p["partition"]) for p in described.get(topic, ())]
        ends = await consumer.end_offsets(partitions)
        starts = await consumer.beginning_offsets(partitions)
        lag[topic] = sum(ends[p] - max(starts[p], committed[p].offset if p in committed else 0) for p in partitions)
    return lag
