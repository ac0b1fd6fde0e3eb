"""The ClickHouse engine inside this process: statements in, answers out, each on a connection of its own.

What arrives is one statement with everything that shapes it (`Context`); what leaves is an `Answer` whose bytes are
complete and lie in a file, or `EngineError` as ClickHouse words it. A connection costs 0.1 ms, so none is shared:
no setting, parameter or current database of one request is ever seen by another. All calls block and let go of the
interpreter lock while the engine works; call them from threads. One process opens a folder at a time.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Protocol, Self
from uuid import uuid4

from chdb import _chdb  # chdb.session would bring pyarrow along: 40 MB and 0.4 s, for nothing that is used here

from embedded.errors import EmbeddedError

DEFAULT_DATABASE = "whipstitch"

# An insert is stored in blocks, each whole or not at all. Smaller ones than ClickHouse's million rows bound memory.
BLOCK_ROWS = 131_072
BLOCK_BYTES = 64 << 20

_LEAST_FREE_BYTES = 1 << 20
_NO_SPACE = "NOT_ENOUGH_SPACE"

# Named by a relative path, because the engine's connection string cannot carry every character of a path.
_FOLDER = "engine"

_STARTUP = {
    "max_server_memory_usage_to_ram_ratio": "0.5",
    "mark_cache_size": str(64 << 20),
    "index_mark_cache_size": str(16 << 20),
    "primary_index_cache_size": str(64 << 20),
    "background_pool_size": "4",
}
_DEFAULT_SETTINGS = {
    "async_insert": "0",
    "implicit_select": "0",
    "allow_introspection_functions": "0",
    "max_insert_block_size": str(BLOCK_ROWS),
    "max_insert_block_size_bytes": str(BLOCK_BYTES),
    "min_insert_block_size_rows": str(BLOCK_ROWS),
    "min_insert_block_size_bytes": str(BLOCK_BYTES),
}


class EngineError(Exception):
    """The engine refused or failed a statement. `str()` is ClickHouse's own text; `code` its number."""

    def __init__(self, code: int, message: str, name: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {message} ({name})")
        self.code = code


class _Result(Protocol):
    def bytes(self) -> bytes: ...
    def elapsed(self) -> float: ...
    def rows_written(self) -> int: ...
    def bytes_written(self) -> int: ...
    def storage_rows_read(self) -> int: ...
    def storage_bytes_read(self) -> int: ...


class _Connection(Protocol):
    def query(self, sql: bytes | str, format: str = "CSV") -> _Result: ...
    def classify_query(self, sql: bytes | str) -> Mapping[str, object]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Context:
    """What shapes one statement besides its text. Parameters are written as ClickHouse's `param_` values are.
    `tag` is the caller's own name for this one run, by which it can be killed."""

    tag: str
    database: str = DEFAULT_DATABASE
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    elapsed_ns: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: its bytes are in memory, or on disk in a file without a name, which goes when it is closed."""

    progress: Progress
    body: BinaryIO


class Engine:
    """The engine over one folder. `open` it first, `close` it last; in between every method may run in any thread."""

    def __init__(self, anchor: _Connection, version: str) -> None:
        self._anchor = anchor
        self.version = version

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the folder, made where absent, and make it this process's working directory.

        Raises EmbeddedError where it cannot be used.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.chdir(folder)
            for left_behind in (*folder.glob("answer-*"), *folder.glob("rows-*")):
                left_behind.unlink()
        except OSError as error:
            raise EmbeddedError(f"{folder}: {error.strerror}; choose a folder that you may write") from error
        try:
            anchor = _connect("&".join(f"{name}={value}" for name, value in _STARTUP.items()))
        except RuntimeError as error:
            raise EmbeddedError(
                f"{folder}: the store cannot open it ({error}); stop the process that uses it, or look into its log"
            ) from error
        anchor.query(_set_statement(_DEFAULT_SETTINGS))
        anchor.query(f"CREATE DATABASE IF NOT EXISTS `{DEFAULT_DATABASE}`")
        return cls(anchor, bytes(anchor.query("SELECT version()", "TSVRaw").bytes()).decode().strip())

    def close(self) -> None:
        self._anchor.close()

    def is_read_only(self, text: bytes) -> bool:
        """Whether the statement only reads; False also for what does not parse. Raises EngineError for several."""
        found = self._anchor.classify_query(text)
        if int(str(found["statement_count"])) > 1:
            raise EngineError(62, "Syntax error: Multi-statements are not allowed", "SYNTAX_ERROR")
        return bool(found["query_class"] == _chdb.query_class.READ_ONLY)  # type: ignore[attr-defined]

    def run(self, context: Context, text: bytes, format: str) -> Answer:
        """Run any statement; what it answers is built in memory, so it is not for large results."""
        with _connection(context) as connection, _engine_errors():
            result = connection.query(text, format)
            return Answer(_progress(result), BytesIO(result.bytes()))

    def read(self, context: Context, select: bytes, tail: bytes, compression: str) -> Answer:
        """Run a statement that reads, with the engine writing its answer to disk: memory stays bounded.

        `select` is the text before FORMAT and `tail` the text from there on. `compression` is one of ClickHouse's
        names, or "none".
        """
        file = Path(f"answer-{uuid4().hex}")
        outfile = f"\nINTO OUTFILE '{file}' COMPRESSION '{compression}'\n".encode()
        try:
            with _connection(context) as connection, _engine_errors():
                result = connection.query(select + outfile + tail)
            _check_disk()
            return Answer(_progress(result), file.open("rb"))
        finally:
            file.unlink(missing_ok=True)

    def insert(self, context: Context, head: bytes, settings: bytes, format: str) -> "Insert":
        """Open an insert whose rows follow in pieces; `head` is the statement up to its SETTINGS, FORMAT or VALUES."""
        return Insert(_opened(context), head, settings, format)

    def kill(self, tag: str) -> None:
        """Ask the engine to stop a statement that runs; one that has ended is no error."""
        self._anchor.query(f"KILL QUERY WHERE Settings['log_comment'] = {quoted(tag)} ASYNC")

    def kill_all(self) -> None:
        self._anchor.query("KILL QUERY WHERE Settings['log_comment'] != '' ASYNC")


class Insert:
    """One insert in progress. After `finish` its rows are stored; up to BLOCK_ROWS rows and BLOCK_BYTES are stored
    whole or not at all. After `cancel` none are.

    The rows go to a file first, from which the engine reads them: its own way to take rows in pieces (`send_insert`)
    says nothing of an error that comes after a row was read, such as a full disk, and stores nothing.
    """

    def __init__(self, connection: _Connection, head: bytes, settings: bytes, format: str) -> None:
        self._connection = connection
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
        with self._lock, _engine_errors():
            try:
                return Answer(_progress(self._connection.query(self._statement)), BytesIO())
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


def quoted(value: str) -> str:
    """A ClickHouse string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _connect(arguments: str = "") -> _Connection:
    connection: _Connection = _chdb.connect(f"{_FOLDER}?{arguments}")  # type: ignore[attr-defined]
    return connection


@contextmanager
def _connection(context: Context) -> Iterator[_Connection]:
    connection = _opened(context)
    try:
        yield connection
    finally:
        connection.close()


def _opened(context: Context) -> _Connection:
    parameters = {f"param_{name}": value for name, value in context.parameters.items()}
    settings = {**_DEFAULT_SETTINGS, **context.settings, "log_comment": context.tag, **parameters}
    connection = _connect()
    try:
        with _engine_errors():
            connection.query(f"USE `{context.database.replace('`', '``')}`")
            connection.query(_set_statement(settings))
    except EngineError:
        connection.close()
        raise
    return connection


def _set_statement(settings: Mapping[str, str]) -> str:
    for name in settings:
        if not re.fullmatch(r"[A-Za-z_][\w.]*", name, re.ASCII):
            raise EngineError(115, f"Unknown setting '{name}'.", "UNKNOWN_SETTING")
    return "SET " + ", ".join(f"{name} = {quoted(value)}" for name, value in settings.items())


def _progress(result: _Result) -> Progress:
    return Progress(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        elapsed_ns=int(result.elapsed() * 1e9),
    )


def _check_disk() -> None:
    """An answer that finds no room on the disk is cut short without an error."""
    if shutil.disk_usage(".").free < _LEAST_FREE_BYTES:
        raise EngineError(243, "The store's disk is full: free some space, or give it another folder", _NO_SPACE)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError(243, f"Cannot keep the rows of an insert: {error.strerror}", _NO_SPACE) from error


@contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise _understood(str(error)) from None
    except UnicodeDecodeError as error:  # the text quotes a row that is not UTF-8
        raise _understood(error.object.decode(errors="replace")) from None


def _understood(text: str) -> EngineError:
    """The engine wraps some errors two or three times, and tells some without a number."""
    found = re.match(r"(?:Code: (?P<code>\d+)\. DB::\w*Exception: )+(?P<message>.*)", text, re.DOTALL)
    if found is None:
        return EngineError(1002, text, "UNKNOWN_EXCEPTION")
    message, name = found["message"].strip(), "UNKNOWN_EXCEPTION"
    while end := re.search(r"\s*\((?:(?P<name>[A-Z][A-Z0-9_]+)|version [^()]*(?:\([^()]*\))?)\)\.?$", message):
        message, name = message[: end.start()], end["name"] or name
    return EngineError(int(found["code"]), message, name)
