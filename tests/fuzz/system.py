"""Everything that a run of the fuzzer needs: Kafka, store, a worker, an ingress, and keys of each kind."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from broker.control import write_control
from ingress.server import served_routes
from tests.fixtures.system import System, running_system
from tests.fuzz.requests import Keys
from tests.integration.ingress_process import RunningIngress, running_ingress, wait_ready
from tests.waiting import eventually
from topics.control import Key, KeyKind, Project, Scope, key_hash, key_hint, new_key

PROJECT = "fuzzed"


@dataclass(frozen=True)
class FuzzedSystem:
    system: System
    ingress: RunningIngress
    worker: Popen[bytes]
    keys: Keys
    paths: list[tuple[str, str]]

    def in_logs(self, *words: str) -> list[str]:
        """Which of these words stand in the log of any part."""
        parts = [path.read_text(errors="replace") for path in (self.system.folder / "logs").iterdir()]
        logs = [self.ingress.log(), self.system.log_of(self.worker), *parts]
        return [word for word in words if any(word in log for log in logs)]


@contextmanager
def fuzzed_system(folder: Path) -> Iterator[FuzzedSystem]:
    with running_system(folder) as system, system.worker() as worker:
        keys, records = _keys()
        asyncio.run(write_control(system.settings, [Project(PROJECT, 0), *records]))
        with running_ingress(system.settings.kafka, folder, partitions=system.settings.partitions) as ingress:
            wait_ready(ingress)
            eventually(lambda: ingress.post("/v1/b", {"batch": []}, keys.bound).status == 200, "the keys are known")
            yield FuzzedSystem(system, ingress, worker, keys, sorted(served_routes(ingress.settings)))


def _keys() -> tuple[Keys, list[Key]]:
    made: list[tuple[str, Key]] = [
        _key("public"),
        _key("secret"),
        _key("public", origins=("https://shop.example",)),
        _key("secret", scopes=("admin",)),
    ]
    return Keys(*(secret for secret, _ in made)), [key for _, key in made]


def _key(kind: KeyKind, scopes: tuple[Scope, ...] = ("ingest",), origins: tuple[str, ...] = ()) -> tuple[str, Key]:
    secret = new_key(kind)
    return secret, Key(key_hash(secret), key_hint(secret), PROJECT, kind, 1, scopes, origins)
