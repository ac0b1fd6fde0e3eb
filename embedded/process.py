"""Child processes of the embedded parts: ports, folder locks, start, stop, and what a killed parent left behind.

A part takes the lock of its folder, stops whatever an earlier run left, starts its process, waits until it answers
and writes a run file that says who it is. Guarantees: two runs never share a folder; a process is ours only when
its pid *and* its start time are those written; on Linux a child is asked to stop (SIGTERM) when the thread that
started it ends, so start children from a thread that lives as long as they should.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import psutil

from embedded.errors import EmbeddedError

HOST = "127.0.0.1"
POLL_S = 0.02
BACKLOG = 512
LARGEST_LOG_BYTES = 4 * 1024 * 1024

# A clock that is stepped moves every start time that the system tells; pids come around far more slowly than this.
_SAME_START_S = 2.0

# Runs in the child between fork and exec's target, where Python code of ours must not (threads, locks): asks Linux
# for a SIGTERM at the parent's end, and gives back the signals that Python ignores.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]): sys.exit("the parent has gone")
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
os.execv(sys.argv[2], sys.argv[2:])
"""


def listening(preferred: int | None = None, only: int | None = None) -> socket.socket:
    """A socket that listens on a port of the loopback address: the preferred one where it is free, and no other than
    `only`. Given to a child, no other process can come to that port first."""
    for port in (only,) if only else (preferred or 0, 0):
        with suppress(OSError):
            return socket.create_server((HOST, port), backlog=BACKLOG)
    if only:
        raise EmbeddedError(f"{HOST}:{only}: another program is there now; stop it")
    raise EmbeddedError(f"{HOST}: no free port; close programs that listen or hold many connections")


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def free_port(preferred: int | None = None, only: int | None = None) -> int:
    """A port as `listening` finds it, for a program that has to listen by itself. Somebody else may come first."""
    with listening(preferred, only) as listener:
        return port_of(listener)


class EndedWhileStarting(EmbeddedError):
    """The process ended by itself before it was ready."""


class FolderInUse(EmbeddedError):
    """`holder` is the process that holds it, as text."""

    def __init__(self, folder: Path, holder: str) -> None:
        super().__init__(f"{folder}: in use by process {holder}; stop it, or choose another folder with --data")
        self.holder = holder


class FolderLock:
    """A folder that no other process may use meanwhile. Gone with the process, however that ends.

    Raises FolderInUse where another holds it, and EmbeddedError where it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / "lock").open("a+")
        except OSError as error:
            raise EmbeddedError(f"{folder}: {error.strerror}; choose a folder that you may write") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise FolderInUse(folder, holder) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def start(
    name: str,
    argv: Sequence[str],
    log_file: Path,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    listener: socket.socket | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own (Ctrl-C at the terminal does not reach it), its output in the log file.

    `folder` is its working folder, ours where it is not given. `listener` is open in the child too, under the same
    number. Raises EmbeddedError where the program is not there or the log cannot be written.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise EmbeddedError(f"{name}: {argv[0]}: no such program; install it, or say where it is")
    command = [str(Path(program).absolute()), *argv[1:]]
    if sys.platform == "linux":
        command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
    try:
        with _opened_log(log_file) as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=folder, start_new_session=True,
                pass_fds=[listener.fileno()] if listener else [],
            )  # fmt: skip
    except OSError as error:
        raise EmbeddedError(f"{name}: cannot start, {error.filename}: {error.strerror}") from error


def wait_ready(
    name: str, process: subprocess.Popen[bytes], log_file: Path, is_ready: Callable[[], bool], timeout_s: float
) -> None:
    """Wait until `is_ready()`. Where that does not come: stop the process, and EmbeddedError with its last words."""
    deadline_s = time.monotonic() + timeout_s
    while not is_ready():
        if process.poll() is not None:
            raise EndedWhileStarting(_told(name, f"ended with code {process.returncode} while it started", log_file))
        if time.monotonic() > deadline_s:
            stop(process, timeout_s=5)
            raise EmbeddedError(_told(name, f"not ready after {timeout_s:g} s", log_file))
        time.sleep(POLL_S)


def stop(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Ask to stop (SIGTERM), wait, then kill; False where it had to be killed. One that has gone is no error."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return process.returncode != -signal.SIGKILL


def last_lines(log_file: Path, count: int = 15) -> str:
    """The end of a log without the frames of Java's stack traces, indented, for an error message."""
    try:
        lines = log_file.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    told = [line for line in lines if not line.startswith(("\tat ", "\t..."))]
    return "\n".join(f"  {line}" for line in told[-count:]) or "  (nothing)"


@dataclass(frozen=True, slots=True)
class Run:
    """Who runs a part, and where it answers."""

    pid: int
    started_at_s: float
    address: str


def run_file(data: Path, part: str) -> Path:
    return data / "run" / f"{part}.json"


def write_run(file: Path, pid: int, address: str) -> None:
    """Say that the live process `pid` is the part, and answers at `address`. Replaces the file in one step."""
    run = Run(pid, psutil.Process(pid).create_time(), address)
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(run)))
    fresh.replace(file)


def read_run(file: Path) -> Run | None:
    """Who runs the part now; None where it does not run, whatever was written."""
    try:
        run = Run(**json.loads(file.read_text()))
        alive = psutil.Process(run.pid)
        is_same = abs(alive.create_time() - run.started_at_s) < _SAME_START_S
        has_ended = alive.status() == psutil.STATUS_ZOMBIE
    except (OSError, ValueError, TypeError, psutil.NoSuchProcess):
        return None
    return run if is_same and not has_ended else None


def last_address(file: Path) -> str | None:
    """Where the part answered when it last ran, whether or not it runs now."""
    try:
        return str(json.loads(file.read_text())["address"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def stop_orphan(file: Path, timeout_s: float) -> bool:
    """Stop what a killed parent left running. Only for who holds the lock of the part's folder: then it is nobody's."""
    run = read_run(file)
    if run is None:
        return False
    try:
        orphan = psutil.Process(run.pid)
        orphan.terminate()
        _wait_or_kill(orphan, timeout_s)
    except psutil.NoSuchProcess:
        pass
    return True


def _wait_or_kill(orphan: psutil.Process, timeout_s: float) -> None:
    try:
        orphan.wait(timeout_s)
    except psutil.TimeoutExpired:
        orphan.kill()
        orphan.wait()


def _told(name: str, problem: str, log_file: Path) -> str:
    return f"{name}: {problem}; its log is {log_file}, and ends:\n{last_lines(log_file)}"


def _opened_log(log_file: Path) -> BinaryIO:
    log_file.parent.mkdir(parents=True, exist_ok=True)
    if log_file.exists() and log_file.stat().st_size > LARGEST_LOG_BYTES:
        log_file.replace(log_file.with_suffix(".old.log"))
    return log_file.open("ab")
