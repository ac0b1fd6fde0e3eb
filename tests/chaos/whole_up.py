"""`whipstitch up`, whose parts are killed and which starts them again by itself; and which is killed itself."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil

from broker.control import write_control
from embedded import process
from pipeline.settings import PREFIX, Settings, load
from store.client import Store, open_store
from tests.chaos.parts import ROOT
from tests.chaos.traffic import EVERY_PROJECT, KeyRing, new_keys
from tests.waiting import eventually

READY_WITHIN_S = 180.0
_PARTS = ("ingress", "worker", "store", "kafka")
_PARTITIONS = 8


@dataclass
class Up:
    """One data folder, and the `up` that runs on it."""

    folder: Path
    port: int
    running: subprocess.Popen[bytes]
    settings: Settings
    store: Store
    keys: KeyRing

    def keep_up(self) -> None:
        """Start it again where it has ended; a new `up` may have its store at another address."""
        if self.running.poll() is not None:
            self.running = _start(self.folder, self.port)
        run = process.read_run(process.run_file(self.folder / "data", "store"))
        if run is not None and run.address != self.settings.store:
            self.settings = self.settings.model_copy(update={"store": run.address})
            self.store = open_store(run.address)

    def kill(self, part: str) -> None:
        run = process.read_run(process.run_file(self.folder / "data", part))
        if run is not None:  # else it has not come back from the kill before
            with suppress(ProcessLookupError):
                os.kill(run.pid, signal.SIGKILL)

    def kill_itself(self) -> None:
        self.running.kill()
        self.running.wait()


@contextmanager
def running_up(folder: Path) -> Iterator[Up]:
    """Ready, with keys made. All of it is gone at the end."""
    port = process.free_port()
    running = _start(folder, port)
    try:
        eventually(lambda: _says_ready(folder) or running.poll() is not None, "up is ready", READY_WITHIN_S, poll_s=0.1)
        addresses = {part: _address(folder, part) for part in ("kafka", "store")}
        settings = load({}, folder / "none", port=port, partitions=_PARTITIONS, data=folder / "data", **addresses)
        keys, records = new_keys()
        asyncio.run(write_control(settings, [*EVERY_PROJECT, *records]))
        up = Up(folder, port, running, settings, open_store(settings.store), keys)
        yield up
        running = up.running
    finally:
        children = psutil.Process(running.pid).children(recursive=True) if running.poll() is None else []
        process.stop(running, timeout_s=60)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    data = folder / "data"
    environ = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    argv = [sys.executable, "-P", "-m", "cli.main", "up", "--data", str(data), "--port", str(port)]
    return process.start("up", argv, folder / "up.log", environ, ROOT)


def _says_ready(folder: Path) -> bool:
    return re.search(r"^ready http://", (folder / "up.log").read_text(), re.MULTILINE) is not None


def _address(folder: Path, part: str) -> str:
    run = process.read_run(process.run_file(folder / "data", part))
    assert run is not None, (folder / "up.log").read_text()
    return run.address


def _kill(part: str) -> Callable[[Up, Random], float]:
    def inject(up: Up, _pick: Random) -> float:
        since_s = time.monotonic()
        up.kill(part)
        return since_s

    return inject


def _kill_several(up: Up, pick: Random) -> float:
    since_s = time.monotonic()
    for part in pick.sample(_PARTS, pick.randint(2, 4)):
        up.kill(part)
    return since_s


def _kill_up(up: Up, _pick: Random) -> float:
    since_s = time.monotonic()
    up.kill_itself()
    up.keep_up()
    return since_s


OF_UP: Mapping[str, Callable[[Up, Random], float]] = {
    **{f"kill-{part}": _kill(part) for part in _PARTS},
    "kill-several": _kill_several,
    "kill-up": _kill_up,
}
