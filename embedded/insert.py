"""One insert into the embedded store, whose rows come in pieces."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import BinaryIO
from uuid import uuid4

from embedded.connection import NO_SPACE, Answer, Connection, EngineError, engine_errors, progress_of


class Insert:
    """One insert in progress. After `finish` its rows are stored, and `check` has found them so; up to BLOCK_ROWS rows
    and BLOCK_BYTES are stored whole or not at all. After `cancel` none are.

    The rows go to a file first, from which the engine reads them: its own way to take rows in pieces (`send_insert`)
    says nothing of an error that comes after a row was read, such as a full disk, and stores nothing.
    """

    def __init__(
        self, connection: Connection, head: bytes, settings: bytes, format: str, check: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._check = check
        self._file = Path(f"rows-{uuid4().hex}")
        self._statement = b"%b\nFROM INFILE '%b'\n%b\nFORMAT %b" % (head, bytes(self._file), settings, format.encode())
        self._lock = Lock()
        try:
            with _disk_errors():
                self._rows: BinaryIO | None = self._file.open("xb", buffering=0)
        except EngineError:
            connection.close()
            raise

    def append(self, data: bytes) -> None:
        with self._lock, _disk_errors():
            assert self._rows is not None, "finished or cancelled"
            unwritten = memoryview(data)
            while unwritten:
                unwritten = unwritten[self._rows.write(unwritten) :]

    def finish(self) -> Answer:
        with self._lock, engine_errors():
            try:
                progress = progress_of(self._connection.query(self._statement))
                self._check()
                return Answer(progress, BytesIO())
            finally:
                self._close()

    def cancel(self) -> None:
        """Idempotent, and without effect on an insert that is finished."""
        with self._lock:
            if self._rows is not None:
                self._close()

    def _close(self) -> None:
        if self._rows is not None:
            self._rows.close()
            self._rows = None
        self._file.unlink(missing_ok=True)
        self._connection.close()


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError(243, f"Cannot keep the rows of an insert: {error.strerror}", NO_SPACE) from error
