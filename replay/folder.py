"""The folder of a replay, where its journals are; whoever has it locked is running the replay.

The lock goes with the process, however that ends.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pipeline.settings import Settings
from replay.errors import Refused

_FOLDER: Final = "replay"
_LOCK: Final = "lock"


def folder_of(settings: Settings, replay_id: str) -> Path:
    return settings.data / _FOLDER / replay_id


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder where it is absent, and have it alone. Raises Refused where another process has it, or where it
    cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _cannot_be_written(folder, error) from error
    try:
        _take(file, folder)
        yield
    finally:
        os.close(file)


def _take(file: int, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        running = os.pread(file, 20, 0).decode() or "?"
        raise Refused(f"this replay is running already, as process {running}; stop that first") from None
    try:
        os.truncate(file, 0)
        os.write(file, str(os.getpid()).encode())
    except OSError as error:  # no room for so little, so for nothing that comes after it
        raise _cannot_be_written(folder, error) from error


def _cannot_be_written(folder: Path, error: OSError) -> Refused:
    return Refused(f"{folder}: cannot be written: {error.strerror}; mend that, or set WHIPSTITCH_DATA")


def is_running(folder: Path) -> bool:
    """Whether a process of this machine has the folder."""
    try:
        with (folder / _LOCK).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def remove(folder: Path) -> None:
    """Remove the folder, and the one of all replays with the last. Safe to repeat."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.parent.rmdir()
    except OSError:
        return  # it is not there, or holds another replay


def journal_path(folder: Path, partition: int) -> Path:
    return folder / f"{partition}.journal"
