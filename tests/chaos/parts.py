"""The parts of one system, each a process as the product starts it, and what can be done to each of them.

A part that ended though nobody here ended it is noted in `ended` and started again, as `up` would do.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from broker.control import write_control
from broker.topics import create_topics
from embedded import process
from pipeline.settings import PREFIX, Settings, as_environ, load
from store.client import Store, open_store
from store.migrate import migrate
from tests.chaos.engines import Engine, OneKafka, OneStore, three_brokers
from tests.chaos.traffic import EVERY_PROJECT, KeyRing, new_keys
from tests.pausing import paused
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
READY_WITHIN_S = 90.0
STOPPED_WITHIN_S = 30.0
INGRESS, WORKER, STORE, KAFKA = "ingress", "worker", "store", "kafka"
_LAST_WORDS = 12


@dataclass(frozen=True, slots=True)
class Ended:
    """A part that ended by itself."""

    part: str
    code: int
    last_words: str


@dataclass
class Parts:
    """`engines` are Kafka and the store, by name; `clients` the ingress, `worker`, and further workers."""

    folder: Path
    settings: Settings
    keys: KeyRing
    engines: Mapping[str, Engine]
    store: Store
    clients: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)

    def process(self, part: str) -> subprocess.Popen[bytes]:
        return self.engines[part].process if part in self.engines else self.clients[part]

    def start(self, part: str, point: str | None = None, nth: int = 1) -> None:
        """With `point` the part (ingress or worker) kills itself there."""
        if part in self.engines:
            self.engines[part].start()
        else:
            self._start_client(part, point, nth)

    def kill(self, part: str) -> None:
        _end(self.process(part))
        self._let_go(part)

    def stop(self, part: str) -> None:
        """As an operator would, with SIGTERM."""
        process.stop(self.process(part), STOPPED_WITHIN_S)
        self._let_go(part)

    def paused(self, part: str) -> AbstractContextManager[None]:
        return paused(self.process(part))

    def await_worker(self, part: str) -> None:
        """Until it has its partitions, or has ended."""
        eventually(
            lambda: self._ready_file(part).exists() or self.clients[part].poll() is not None,
            f"{part} is ready; its log is {self.log(part)}",
            READY_WITHIN_S,
            poll_s=0.05,
        )

    def lose_state(self, worker: str) -> None:
        """Delete what a worker that does not run keeps on its disk."""
        shutil.rmtree(self.folder / f"{worker}-data")

    def keep_up(self) -> None:
        """Start again what has ended."""
        for part in (*self.engines, *self.clients):
            code = self.process(part).poll()
            if code is not None:
                self.ended.append(Ended(part, code, process.last_lines(self.log(part), _LAST_WORDS)))
                self._let_go(part)
                self.start(part)

    def end_clients(self) -> None:
        for client in self.clients.values():
            _end(client)

    def log(self, part: str) -> Path:
        return self.folder / "logs" / f"{part}.log"

    def _let_go(self, part: str) -> None:
        if part in self.engines:
            self.engines[part].let_go()
        elif part not in (INGRESS, WORKER):
            del self.clients[part]

    def _start_client(self, part: str, point: str | None, nth: int) -> None:
        settings, ready = self.settings, self._ready_file(part)
        command = [INGRESS]
        if part != INGRESS:
            ready.unlink(missing_ok=True)
            data = self.folder / f"{part}-data"
            data.mkdir(exist_ok=True)
            settings = settings.model_copy(update={"worker_id": part, "data": data})
            command = [WORKER, "--ready-file", str(ready)]
        program = ["-m", "tests.chaos.points", point, str(nth)] if point else ["-P", "-m", "cli.main"]
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        environ = {**inherited, **as_environ(settings)}
        argv = [sys.executable, *program, *command]
        self.clients[part] = process.start(part, argv, self.log(part), environ, ROOT)

    def _ready_file(self, part: str) -> Path:
        return self.folder / f"{part}-ready"


@contextmanager
def running_parts(folder: Path, brokers: int = 1) -> Iterator[Parts]:
    """Topics, tables and keys made, and one ingress and one worker started. All are gone at the end."""
    with ExitStack() as ending:
        engines, settings = _engines(folder, brokers, ending)
        keys, records = new_keys()
        asyncio.run(create_topics(settings))
        asyncio.run(write_control(settings, [*EVERY_PROJECT, *records]))
        parts = Parts(folder, settings, keys, engines, open_store(settings.store))
        migrate(parts.store)
        ending.callback(parts.store.close)
        ending.callback(parts.end_clients)
        parts.start(INGRESS)
        parts.start(WORKER)
        parts.await_worker(WORKER)
        yield parts


def _engines(folder: Path, brokers: int, ending: ExitStack) -> tuple[dict[str, Engine], Settings]:
    engines: dict[str, Engine] = {}

    def end() -> None:
        for engine in reversed(engines.values()):
            _end(engine.process)
            engine.let_go()

    ending.callback(end)
    if brokers == 1:
        kafka = OneKafka(folder)
        engines[KAFKA], addresses = kafka, kafka.bootstrap
    else:
        cluster = three_brokers(folder)
        engines |= {broker.name: broker for broker in cluster}
        addresses = ",".join(broker.address for broker in cluster)
    store = OneStore(folder)
    engines[STORE] = store
    given = {"kafka": addresses, "store": store.url, "data": folder, "port": process.free_port()}
    return engines, load({}, folder / "none", partitions=PARTITIONS, replication=brokers, **given)


def _end(ended: subprocess.Popen[bytes]) -> None:
    """Whatever state it is in."""
    if ended.poll() is None:
        ended.kill()
        ended.wait()
