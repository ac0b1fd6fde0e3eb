"""The JDK's ahead-of-time cache: classes loaded and linked beforehand, so that Kafka starts in half the time.

Made once for each Java and set of jars, by a throw-away broker of low priority in the background of a run. Nothing
rests on it: where it is missing, refused by the VM or cannot be made, Kafka starts without, only slower.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

from embedded import process
from embedded.errors import EmbeddedError
from embedded.kafka_process import Installation, Ports, answers, format_once, launch

READY_WITHIN_S = 120
WRITTEN_WITHIN_S = 120
LOWEST_PRIORITY = 19
UNUSED_AFTER_S = 7 * 86400


def cache_file(cache: Path, kafka: Installation) -> Path:
    """Where the cache for exactly this Java, these options and these jar files is, or would be."""
    files = [kafka.java.program.resolve(), *kafka.jars]
    seen = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    key = hashlib.sha256(repr((kafka.java, kafka.java.options, seen)).encode()).hexdigest()[:16]
    return cache / "aot" / f"kafka-{key}.aot"


def use_options(file: Path) -> list[str]:
    """The options that make Java use the cache; the file's time tells when that last was."""
    with suppress(OSError):
        os.utime(file)
    return [f"-XX:AOTCache={file.absolute()}", "-Xlog:aot*=error"]  # it warns of what it does without


class Training(threading.Thread):
    """Makes the cache file beside a running broker. `cancel` ends it at once; the next run then tries again."""

    def __init__(self, kafka: Installation, file: Path) -> None:
        super().__init__(name="kafka-aot", daemon=True)
        self._kafka = kafka
        self._file = file.absolute()
        self._cancelled = threading.Event()
        self._broker: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        try:
            with process.FolderLock(self._file.parent):
                if not self._file.exists():
                    self._train(self._file.parent / "training")
                    _remove_unused(self._file)
        except (EmbeddedError, OSError):
            return  # another run makes it, or it cannot be made here: both leave Kafka as it is

    def cancel(self) -> None:
        self._cancelled.set()
        if broker := self._broker:
            _kill(broker)
        self.join()

    def _train(self, folder: Path) -> None:
        fresh = folder / "fresh.aot"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            format_once(self._kafka, folder)
            self._run_broker(folder, f"-XX:AOTCacheOutput={fresh}")
            if fresh.exists() and not self._cancelled.is_set():
                fresh.replace(self._file)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run_broker(self, folder: Path, option: str) -> None:
        ports, log_file = Ports(process.free_port(), process.free_port()), folder / "kafka.log"

        def is_enough() -> bool:
            return self._cancelled.is_set() or answers(ports.clients, folder)

        self._broker = broker = launch(self._kafka, folder, ports, log_file, [option])
        try:
            os.setpriority(os.PRIO_PROCESS, broker.pid, LOWEST_PRIORITY)
            process.wait_ready("Kafka", broker, log_file, is_enough, READY_WITHIN_S)
            if not self._cancelled.is_set():
                process.stop(broker, WRITTEN_WITHIN_S)  # the VM writes the cache before it ends
        finally:
            _kill(broker)


def _kill(broker: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(broker.pid, signal.SIGKILL)  # with the VM that it started to write the cache
    broker.wait()


def _remove_unused(current: Path) -> None:
    unused_before_s = time.time() - UNUSED_AFTER_S
    for file in current.parent.glob("*.aot"):
        if file != current and file.stat().st_mtime < unused_before_s:
            file.unlink(missing_ok=True)
