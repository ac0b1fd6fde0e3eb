"""An ingress as a process of its own, a client that reaches it over a real socket, and what stands in the topic."""

import asyncio
import base64
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from broker.connection import client_options
from broker.control import write_control
from broker.producer import DurableProducer
from embedded.kafka import RunningKafka, start_kafka
from pipeline.settings import Settings, as_environ
from tests.waiting import eventually
from topics.control import Key, KeyKind, key_hash, key_hint, new_key
from topics.keys import partition_of
from topics.names import RAW
from topics.raw import Stamp, read_stamp

ROOT = Path(__file__).parents[2]
_RUN = """
import sys
from ingress.publisher import PublishLimits
from ingress.server import run
from pipeline.settings import load
sys.exit(run(load(), PublishLimits(max_wait_s=float(sys.argv[1]))))
"""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class RunningIngress:
    settings: Settings
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())
        finally:
            connection.close()

    def post(self, path: str, payload: object, key: str | None = None, **headers: str) -> Reply:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self.request("POST", path, body, {**headers, **({"Authorization": basic(key)} if key else {})})

    def is_ready(self) -> bool:
        try:
            return self.request("GET", "/health/ready").status == 200
        except OSError:
            return False

    def log(self) -> str:
        return self.log_file.read_text()


def basic(key: str) -> str:
    """The Authorization header of the Segment family."""
    return f"Basic {base64.b64encode(f'{key}:'.encode()).decode()}"


@contextmanager
def pausable_kafka(folder: Path) -> Iterator[RunningKafka]:
    """A broker of one test's own, which may pause it."""
    kafka = start_kafka(folder, cache=None, java=None, progress=print)
    try:
        yield kafka
    finally:
        kafka.stop()


@contextmanager
def running_ingress(
    bootstrap: str, folder: Path, max_wait_s: float = 5.0, **overrides: object
) -> Iterator[RunningIngress]:
    """Start one, and kill it at the end if it still runs."""
    settings = Settings.model_validate({"kafka": bootstrap, "port": free_port(), **overrides})
    log_file = folder / f"ingress-{settings.port}.log"
    environ = {**os.environ, **as_environ(settings)}
    with log_file.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", _RUN, str(max_wait_s)], cwd=ROOT, env=environ, stderr=log)
    running = RunningIngress(settings, process, log_file)
    try:
        yield running
    finally:
        process.kill()
        process.wait()


def wait_ready(ingress: RunningIngress) -> None:
    eventually(lambda: ingress.is_ready() or ingress.process.poll() is not None, "the ingress is ready")
    assert ingress.process.poll() is None, ingress.log()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_key(settings: Settings, project_id: str | None = None, kind: KeyKind = "secret") -> tuple[str, Key]:
    """A new key of a project that no other test has; its secret and its record."""
    secret = new_key(kind)
    key = Key(key_hash(secret), key_hint(secret), project_id or f"p-{secrets.token_hex(6)}", kind, 1)
    asyncio.run(write_control(settings, [key]))
    return secret, key


def known_key(ingress: RunningIngress) -> tuple[str, Key]:
    """A new key that this ingress has heard of."""
    secret, key = make_key(ingress.settings)
    eventually(lambda: ingress.post("/v1/batch", {"batch": []}, secret).status == 200, "the key is known")
    return secret, key


@dataclass(frozen=True)
class Found:
    """A record of `events.raw` as it stands there."""

    key: bytes
    value: bytes
    timestamp: int
    stamp: Stamp


def raw_records(settings: Settings, project_id: str) -> list[Found]:
    """What stands in `events.raw` of a project, in the order of each partition, each on the partition of its key."""
    return asyncio.run(_raw_records(settings, project_id))


async def _raw_records(settings: Settings, project_id: str) -> list[Found]:
    producer = DurableProducer(settings)
    partitions = [TopicPartition(RAW, partition) for partition in range(await producer.partitions(RAW))]
    await producer.stop()
    consumer = AIOKafkaConsumer(**client_options(settings), auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                for record in records:
                    key, value = record.key or b"", record.value or b""
                    stamp = _stamp(record.headers)
                    if stamp is not None and stamp.project_id == project_id:
                        assert record.partition == partition_of(key, len(partitions))
                        found.append(Found(key, value, record.timestamp, stamp))
        return found
    finally:
        await consumer.stop()


def _stamp(headers: Sequence[tuple[str, bytes]]) -> Stamp | None:
    """None for what other tests write there without an ingress."""
    try:
        return read_stamp(tuple(headers))
    except ValueError:
        return None
