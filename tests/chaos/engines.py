"""Kafka and the store as parts that can be killed and come back with the same data at the same address."""

import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from embedded import process
from embedded.jars import RESOURCES, default_cache, jars_in
from embedded.java import environment, find_java
from embedded.kafka import READY_WITHIN_S, RunningKafka, start_kafka
from embedded.kafka_process import FORMAT_WITHIN_S, Installation, answers
from embedded.store import RunningStore, start_store

BROKERS = (1, 2, 3)


class Engine(Protocol):
    """`let_go` comes after the process has ended, and before it is started again."""

    @property
    def process(self) -> subprocess.Popen[bytes]: ...
    def start(self) -> None: ...
    def let_go(self) -> None: ...


class OneKafka:
    """The embedded Kafka, as it is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = self._started()
        self.bootstrap = self._running.bootstrap

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self._running.process

    def start(self) -> None:
        self._running = self._started()
        assert self._running.bootstrap == self.bootstrap

    def let_go(self) -> None:
        self._running.stop()

    def _started(self) -> RunningKafka:
        return start_kafka(self._folder, None, None, _quietly)


class OneStore:
    """The embedded store, as it is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = self._started(None)
        self.url = self._running.url

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self._running.process

    def start(self) -> None:
        self._running = self._started(self._running.port)
        assert self._running.url == self.url

    def let_go(self) -> None:
        self._running.stop()

    def _started(self, port: int | None) -> RunningStore:
        return start_store(self._folder, _quietly, preferred_port=port)


@dataclass(frozen=True, slots=True)
class _Node:
    number: int
    clients: int
    controller: int


class Broker:
    """One of three brokers of a cluster, each of which is a controller too."""

    def __init__(self, folder: Path, kafka: Installation, cluster: str, node: _Node, nodes: Sequence[_Node]) -> None:
        self._folder = folder / f"kafka-{node.number}"
        self._log = folder / "logs" / f"kafka-{node.number}.log"
        self._kafka = kafka
        self._node = node
        self._folder.mkdir(parents=True)
        (self._folder / "server.properties").write_text(_properties(node, nodes))
        tool = ("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", "server.properties")
        subprocess.run(
            kafka.command(*tool), cwd=self._folder, env=environment(), check=True, timeout=FORMAT_WITHIN_S,
            capture_output=True,
        )  # fmt: skip
        self._running = self._launched()

    @property
    def name(self) -> str:
        return f"kafka-{self._node.number}"

    @property
    def address(self) -> str:
        return f"{process.HOST}:{self._node.clients}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self._running

    def start(self) -> None:
        """Returns while it comes up: `await_ready` waits."""
        self._running = self._launched()

    def let_go(self) -> None:
        return None

    def await_ready(self) -> None:
        is_ready = partial(answers, self._node.clients, self._folder)
        process.wait_ready(self.name, self._running, self._log, is_ready, READY_WITHIN_S)

    def _launched(self) -> subprocess.Popen[bytes]:
        command = self._kafka.command("kafka.Kafka", "server.properties")
        return process.start(self.name, command, self._log, env=environment(), folder=self._folder)


def three_brokers(folder: Path) -> list[Broker]:
    """A cluster whose topics have three replicas, of which two must have a record before it is acknowledged."""
    kafka = Installation(find_java(None), jars_in(default_cache(), _quietly))
    cluster = urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
    ports: set[int] = set()
    while len(ports) < 2 * len(BROKERS):
        ports.add(process.free_port())
    nodes = [_Node(number, ports.pop(), ports.pop()) for number in BROKERS]
    brokers = [Broker(folder, kafka, cluster, node, nodes) for node in nodes]
    for broker in brokers:
        broker.await_ready()
    return brokers


def _properties(node: _Node, nodes: Sequence[_Node]) -> str:
    clients, controller = f"{process.HOST}:{node.clients}", f"{process.HOST}:{node.controller}"
    replicated = ("default", "offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
    settings = {
        "node.id": node.number,
        "log.dirs": "log",
        "listeners": f"PLAINTEXT://{clients},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{clients}",
        "controller.quorum.voters": ",".join(f"{each.number}@{process.HOST}:{each.controller}" for each in nodes),
        "min.insync.replicas": 2,
        "transaction.state.log.min.isr": 2,
        "share.coordinator.state.topic.min.isr": 2,
        **{f"{each}.replication.factor": len(nodes) for each in replicated},
    }
    lines = [f"{name}={value}" for name, value in settings.items()]
    return "\n".join([(RESOURCES / "server.properties").read_text(), *lines, ""])


def _quietly(_progress: str) -> None:
    return None
