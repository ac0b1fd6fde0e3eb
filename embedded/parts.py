"""The parts of `up`: Kafka and the store where they are to be embedded, then the worker and the ingress.

The worker and the ingress are started at once, to load what they need while Kafka starts; they go on when the start
file is there. All four keep a log in `DATA/logs` and say in `DATA/run` who they are.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from embedded import process
from embedded.supervisor import Child, Part, Running
from pipeline.settings import EMBEDDED, PREFIX, Settings, as_environ

STOP_WITHIN_S = 20.0
PROCESSES = ("worker", "ingress")


@dataclass(frozen=True, slots=True)
class Files:
    """Where the parts of one data folder leave word."""

    data: Path

    @property
    def may_start(self) -> Path:
        """There once topics and tables are."""
        return self.data / "run" / "may-start"

    @property
    def worker_ready(self) -> Path:
        """There once the worker stitches what arrives."""
        return self.data / "run" / "worker-ready"

    def log(self, part: str) -> Path:
        return self.data / "logs" / f"{part}.log"


def parts(settings: Settings, progress: Callable[[str], None]) -> list[Part]:
    """In the order of the data's way back: who is written to comes before who writes."""
    files = Files(settings.data)
    engines: dict[str, Callable[[], Running]] = {
        "kafka": _AtOnePort(lambda port: _start_kafka(settings, progress, port)),
        "store": _AtOnePort(lambda port: _start_store(settings, progress, port)),
    }
    given = {"kafka": settings.kafka, "store": settings.store}
    return [
        *(Part(name, start, files.log(name)) for name, start in engines.items() if given[name] == EMBEDDED),
        Part("worker", lambda: _start_worker(settings, files), files.log("worker")),
        Part("ingress", lambda: _start_child(settings, files, "ingress"), files.log("ingress")),
    ]


def clear(settings: Settings) -> list[str]:
    """Stop what a killed `up` left running, and forget what it left word of. Only for who holds the folder's lock.
    Kafka and the store look after their own. Returns the names of those stopped."""
    files = Files(settings.data)
    files.may_start.unlink(missing_ok=True)
    return [
        name
        for name in reversed(PROCESSES)
        if process.stop_orphan(process.run_file(settings.data, name), STOP_WITHIN_S)
    ]


class _Engine(Running, Protocol):
    @property
    def port(self) -> int: ...


class _AtOnePort:
    """Starts an engine, and after a death again where its clients know it."""

    def __init__(self, start: Callable[[int | None], _Engine]) -> None:
        self._start = start
        self._port: int | None = None

    def __call__(self) -> Running:
        running = self._start(self._port)
        self._port = running.port
        return running


def _start_kafka(settings: Settings, progress: Callable[[str], None], only_port: int | None) -> _Engine:
    from embedded.kafka import start_kafka  # in the part's own thread, beside the others

    return start_kafka(settings.data, settings.cache, settings.java, progress, only_port)


def _start_store(settings: Settings, progress: Callable[[str], None], only_port: int | None) -> _Engine:
    from embedded.store import start_store

    return start_store(settings.data, progress, only_port=only_port)


def _start_worker(settings: Settings, files: Files) -> Running:
    files.worker_ready.unlink(missing_ok=True)
    return _start_child(settings, files, "worker", "--ready-file", str(files.worker_ready))


def _start_child(settings: Settings, files: Files, name: str, *options: str) -> Running:
    # -P: a folder in which somebody runs `up` must not stand in for our packages.
    argv = [sys.executable, "-P", "-m", "cli.main", name, "--start-file", str(files.may_start), *options]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    child = process.start(name, argv, files.log(name), {**inherited, **as_environ(settings)})
    process.write_run(process.run_file(settings.data, name), child.pid, f"http://{settings.host}:{settings.port}")
    return Child(child, STOP_WITHIN_S)
