"""The embedded store: starts its process, waits until it answers, stops it, and tells where it answers.

Arrives: a data folder. Leaves: a ClickHouse HTTP address on the loopback interface. Guarantees: two stores never
share a folder; what an earlier run left behind is stopped first; the run file names the process that answers.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import urllib3

from embedded.process import (
    HOST,
    FolderLock,
    listening,
    port_of,
    read_run,
    run_file,
    start,
    stop,
    stop_orphan,
    wait_ready,
    write_run,
)

PREFERRED_PORT = 8123
READY_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0
_PART = "store"
_PING = urllib3.PoolManager(retries=False, timeout=2.0)


@dataclass(frozen=True, slots=True)
class RunningStore:
    """`url` is what any ClickHouse client is given, as `http://127.0.0.1:PORT`."""

    url: str
    process: subprocess.Popen[bytes]
    lock: FolderLock
    run_file: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self) -> bool:
        """Let what runs finish, and end; False where it had to be killed. Harmless when it has ended already."""
        try:
            return stop(self.process, STOP_WITHIN_S)
        finally:
            self.run_file.unlink(missing_ok=True)
            self.lock.release()


def start_store(
    data: Path,
    progress: Callable[[str], None],
    preferred_port: int | None = PREFERRED_PORT,
    only_port: int | None = None,
) -> RunningStore:
    """Start the store of a data folder and return once it answers.

    `preferred_port` is taken where it is free, and another where not; with `only_port` no other is. Raises
    EmbeddedError where the folder is in use or cannot be written, or the process does not come up.
    """
    folder, run, log_file = (data / _PART).absolute(), run_file(data, _PART), data / "logs" / f"{_PART}.log"
    lock = FolderLock(folder)
    try:
        if stop_orphan(run, STOP_WITHIN_S):
            progress("store: stopped the one that an earlier run left behind")
        with listening(preferred_port, only_port) as listener:
            url = f"http://{HOST}:{port_of(listener)}"
            progress(f"store: starting at {url}")
            command = server_command(folder, listener)
            process = start(_PART, command, log_file, {**os.environ, "TZ": "UTC"}, listener=listener)
        _await_ready(process, url, run, log_file)
    except BaseException:
        lock.release()
        raise
    return RunningStore(url, process, lock, run)


def server_command(folder: Path, listener: socket.socket) -> list[str]:
    """What runs a store on the folder, in a child that has the listening socket under the same number."""
    program = [sys.executable, "-P", "-m", "embedded.store_server"]
    return [*program, "--data", str(folder), "--listener", str(listener.fileno())]


def running_store_url(data: Path) -> str | None:
    """Where the store of a data folder answers; None where it does not run."""
    run = read_run(run_file(data, _PART))
    return run.address if run else None


def _await_ready(process: subprocess.Popen[bytes], url: str, run: Path, log_file: Path) -> None:
    try:
        write_run(run, process.pid, url)
        wait_ready(_PART, process, log_file, lambda: _answers(url), READY_WITHIN_S)
    except BaseException:
        stop(process, STOP_WITHIN_S)
        run.unlink(missing_ok=True)
        raise


def _answers(url: str) -> bool:
    try:
        return _PING.request("GET", f"{url}/ping").status == 200
    except urllib3.exceptions.HTTPError:
        return False
