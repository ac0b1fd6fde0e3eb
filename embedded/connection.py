"""A connection to the engine inside this process, and its answers and errors as ClickHouse words them.

A connection costs 0.1 ms, so none is shared: no setting, parameter or current database of one statement is ever seen
by another.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from chdb import _chdb  # chdb.session would bring pyarrow along: 40 MB and 0.4 s, for nothing that is used here

DEFAULT_DATABASE = "whipstitch"

# An insert is stored in blocks, each whole or not at all. Smaller ones than ClickHouse's million rows bound memory.
BLOCK_ROWS = 131_072
BLOCK_BYTES = 64 << 20

# Inserts are refused where less is free, so that what only needs a little (a merge that runs, a DROP) finds it.
LEAST_FREE_BYTES = 16 << 20

# Named by a relative path, because the engine's connection string cannot carry every character of a path.
_FOLDER = "engine"

DEFAULT_SETTINGS = {
    "async_insert": "0",
    "implicit_select": "0",
    "allow_introspection_functions": "0",
    "min_free_disk_bytes_to_perform_insert": str(LEAST_FREE_BYTES),
    "max_insert_block_size": str(BLOCK_ROWS),
    "max_insert_block_size_bytes": str(BLOCK_BYTES),
    "min_insert_block_size_rows": str(BLOCK_ROWS),
    "min_insert_block_size_bytes": str(BLOCK_BYTES),
}


NO_SPACE = "NOT_ENOUGH_SPACE"


class EngineError(Exception):
    """The engine refused or failed a statement. `str()` is ClickHouse's own text; `code` its number."""

    def __init__(self, code: int, message: str, name: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {message} ({name})")
        self.code = code


class Result(Protocol):
    def bytes(self) -> bytes: ...
    def elapsed(self) -> float: ...
    def rows_written(self) -> int: ...
    def bytes_written(self) -> int: ...
    def storage_rows_read(self) -> int: ...
    def storage_bytes_read(self) -> int: ...


class Connection(Protocol):
    def query(self, sql: bytes | str, format: str = "CSV") -> Result: ...
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


def quoted(value: str) -> str:
    """A ClickHouse string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """A ClickHouse name in backticks."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def connect(arguments: str = "") -> Connection:
    connection: Connection = _chdb.connect(f"{_FOLDER}?{arguments}")  # type: ignore[attr-defined]
    return connection


@contextmanager
def connected(context: Context) -> Iterator[Connection]:
    connection = opened(context)
    try:
        yield connection
    finally:
        connection.close()


def opened(context: Context) -> Connection:
    parameters = {f"param_{name}": value for name, value in context.parameters.items()}
    settings = {**DEFAULT_SETTINGS, **context.settings, "log_comment": context.tag, **parameters}
    connection = connect()
    try:
        with engine_errors():
            connection.query(f"USE {identifier(context.database)}")
            connection.query(set_statement(settings))
    except EngineError:
        connection.close()
        raise
    return connection


def set_statement(settings: Mapping[str, str]) -> str:
    for name in settings:
        if not re.fullmatch(r"[A-Za-z_][\w.]*", name, re.ASCII):
            raise EngineError(115, f"Unknown setting '{name}'.", "UNKNOWN_SETTING")
    return "SET " + ", ".join(f"{name} = {quoted(value)}" for name, value in settings.items())


def progress_of(result: Result) -> Progress:
    return Progress(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        elapsed_ns=int(result.elapsed() * 1e9),
    )


@contextmanager
def engine_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise _understood(str(error)) from None
    except UnicodeDecodeError as error:  # the text quotes a row that is not UTF-8
        raise _understood(error.object.decode(errors="replace")) from None


def _understood(text: str) -> EngineError:
    """The engine wraps some errors two or three times, and tells some without a number."""
    if not text:  # some of Python's versions, 3.11.2 is one, lose what the other branch of `engine_errors` decodes
        return EngineError(27, "Cannot parse input: it is not UTF-8", "CANNOT_PARSE_INPUT_ASSERTION_FAILED")
    found = re.match(r"(?:Code: (?P<code>\d+)\. DB::\w*Exception: )+(?P<message>.*)", text, re.DOTALL)
    if found is None:
        return EngineError(1002, text, "UNKNOWN_EXCEPTION")
    message, name = found["message"].strip(), "UNKNOWN_EXCEPTION"
    while end := re.search(r"\s*\((?:(?P<name>[A-Z][A-Z0-9_]+)|version [^()]*(?:\([^()]*\))?)\)\.?$", message):
        message, name = message[: end.start()], end["name"] or name
    return EngineError(int(found["code"]), message, name)
