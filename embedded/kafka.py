"""The embedded Kafka: one real broker for one data folder, on the loopback address.

Arrives: a data folder, a cache folder for jars, perhaps a Java. Leaves: a broker that answers. Guarantees: two runs
never share a data folder; a broker that a killed run left behind is stopped first; whatever was acknowledged is there
again after a stop or a kill of the process; a start that fails leaves nothing running and nothing locked.
"""

import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from embedded import aot
from embedded.errors import EmbeddedError
from embedded.jars import Progress, default_cache, jars_in
from embedded.java import find_java
from embedded.kafka_process import Installation, Ports, answers, format_once, launch
from embedded.process import (
    HOST,
    EndedWhileStarting,
    FolderLock,
    free_port,
    last_address,
    run_file,
    stop,
    stop_orphan,
    wait_ready,
    write_run,
)

PART = "kafka"
READY_WITHIN_S = 120  # after a kill it reads every log that was not closed
STOPPED_WITHIN_S = 60


@dataclass(frozen=True, slots=True)
class RunningKafka:
    """A broker that answers at `bootstrap` for as long as its `process` runs."""

    bootstrap: str
    process: subprocess.Popen[bytes]
    log_file: Path
    _held: ExitStack

    @property
    def port(self) -> int:
        return int(self.bootstrap.rpartition(":")[2])

    def stop(self, timeout_s: float = STOPPED_WITHIN_S) -> bool:
        """Stop in order (a kill where that takes too long: False) and free the folder. May be called again."""
        with self._held:
            return stop(self.process, timeout_s)


def start_kafka(
    data: Path, cache: Path | None, java: Path | None, progress: Progress, only_port: int | None = None
) -> RunningKafka:
    """Start the broker on `data`/kafka, fetching and formatting what is missing; returns once it takes requests.

    It is where it was the last time if that port is free, and with `only_port` nowhere else than there.
    Raises EmbeddedError: the folder is in use or cannot be written, the jars cannot be had, the Java does not do, or
    Kafka does not start (then with the end of its log). Calling again is safe.
    """
    home = _Home(data.absolute())
    try:
        return _start_on(home, (cache or default_cache()).absolute(), java, progress, only_port)
    except OSError as error:
        where = error.filename or home.data
        raise EmbeddedError(f"Kafka: {where}: {error.strerror}; make room, or choose another folder") from error


def _start_on(home: "_Home", cache: Path, java: Path | None, progress: Progress, only_port: int | None) -> RunningKafka:
    with ExitStack() as held:
        # 1. Nobody else uses the folder, and nobody is left over from before.
        held.enter_context(FolderLock(home.folder))
        if stop_orphan(home.run_file, STOPPED_WITHIN_S):
            progress("stopped the Kafka that an earlier run left behind")
        # 2. Java and jars, checked.
        kafka = Installation(find_java(java), jars_in(cache, progress))
        # 3. A broker that answers.
        progress("starting Kafka")
        prepared = aot.cache_file(cache, kafka)
        ports, broker = _start(kafka, home, prepared, only_port)
        # 4. The next start is to be quicker.
        if kafka.java.has_aot_cache and not prepared.exists():
            training = aot.Training(kafka, prepared)
            training.start()
            held.callback(training.cancel)
        return RunningKafka(_address(ports), broker, home.log_file, held.pop_all())


@dataclass(frozen=True, slots=True)
class _Home:
    data: Path

    @property
    def folder(self) -> Path:
        return self.data / PART

    @property
    def run_file(self) -> Path:
        return run_file(self.data, PART)

    @property
    def log_file(self) -> Path:
        return self.data / "logs" / "kafka.log"


def _ports(last: str | None, only: int | None) -> Ports:
    """The clients' port of the last run where it is free, so that an address that was noted down stays right."""
    last_port = last.rpartition(":")[2] if last else ""
    clients = free_port(int(last_port) if last_port.isdigit() else None, only)
    controller = free_port()
    while controller == clients:
        controller = free_port()
    return Ports(clients, controller)


def _address(ports: Ports) -> str:
    return f"{HOST}:{ports.clients}"


def _start(
    kafka: Installation, home: _Home, prepared: Path, only_port: int | None
) -> tuple[Ports, "subprocess.Popen[bytes]"]:
    """One that ends while it starts has another try: without the prepared cache, and at other ports where somebody has
    come first to one."""
    ports = _ports(last_address(home.run_file), only_port)
    try:
        return ports, _start_with(aot.use_options(prepared) if prepared.exists() else [], kafka, home, ports)
    except EndedWhileStarting:
        ports = _ports(_address(ports), only_port)
        broker = _start_with([], kafka, home, ports)
        prepared.unlink(missing_ok=True)  # it may have been at fault; it is made anew
        return ports, broker


def _start_with(options: list[str], kafka: Installation, home: _Home, ports: Ports) -> subprocess.Popen[bytes]:
    format_once(kafka, home.folder, options)
    broker = launch(kafka, home.folder, ports, home.log_file, options)
    with ExitStack() as undo:
        undo.callback(stop, broker, timeout_s=0)
        write_run(home.run_file, broker.pid, _address(ports))
        wait_ready("Kafka", broker, home.log_file, lambda: answers(ports.clients, home.folder), READY_WITHIN_S)
        undo.pop_all()
    return broker
