"""The ClickHouse engine inside this process: statements in, answers out.

What arrives is one statement with everything that shapes it (`Context`); what leaves is an `Answer` whose bytes are
complete and lie in a file, or `EngineError` as ClickHouse words it. All calls block and let go of the interpreter
lock while the engine works; call them from threads. One process opens a folder at a time.
"""

import os
import shutil
import sys
from io import BytesIO
from pathlib import Path
from threading import Event, Thread
from typing import Self
from uuid import uuid4

from chdb import _chdb  # chdb.session would bring pyarrow along: 40 MB and 0.4 s, for nothing that is used here

from embedded.connection import (
    DEFAULT_DATABASE,
    DEFAULT_SETTINGS,
    NO_SPACE,
    Answer,
    Connection,
    Context,
    EngineError,
    connect,
    connected,
    engine_errors,
    opened,
    progress_of,
    quoted,
    set_statement,
)
from embedded.errors import EmbeddedError
from embedded.insert import Insert
from embedded.whole_parts import GiveUp, WholeParts, forget_inserts_set_aside

_LEAST_FREE_FOR_ANSWERS = 1 << 20
_MERGES_CHECKED_EVERY_S = 5.0

_STARTUP = {
    "max_server_memory_usage_to_ram_ratio": "0.5",
    "mark_cache_size": str(64 << 20),
    "index_mark_cache_size": str(16 << 20),
    "primary_index_cache_size": str(64 << 20),
    "background_pool_size": "4",
}


class Engine:
    """The engine over one folder. `open` it first, `close` it last; in between every method may run in any thread."""

    def __init__(self, anchor: Connection, version: str, parts: WholeParts) -> None:
        self._anchor = anchor
        self._parts = parts
        self._closing = Event()
        self._watching = Thread(target=self._watch, name="check of merged parts", daemon=True)
        self._watching.start()
        self.version = version

    @classmethod
    def open(cls, folder: Path, give_up: GiveUp) -> Self:
        """Open the folder, made where absent, and make it this process's working directory.

        `give_up` is told why nothing may be confirmed any more, in any thread, and ends the process. Raises
        EmbeddedError where the folder cannot be used.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.chdir(folder)
            for left_behind in (*folder.glob("answer-*"), *folder.glob("rows-*")):
                left_behind.unlink()
        except OSError as error:
            raise EmbeddedError(f"{folder}: {error.strerror}; choose a folder that you may write") from error
        try:
            anchor = connect("&".join(f"{name}={value}" for name, value in _STARTUP.items()))
        except RuntimeError as error:
            raise EmbeddedError(
                f"{folder}: the store cannot open it ({error}); stop the process that uses it, or look into its log"
            ) from error
        anchor.query(set_statement(DEFAULT_SETTINGS))
        anchor.query(f"CREATE DATABASE IF NOT EXISTS `{DEFAULT_DATABASE}`")
        forget_inserts_set_aside()
        version = bytes(anchor.query("SELECT version()", "TSVRaw").bytes()).decode().strip()
        return cls(anchor, version, WholeParts(give_up))

    def close(self) -> None:
        self._closing.set()
        self._watching.join()
        self._anchor.close()

    def is_read_only(self, text: bytes) -> bool:
        """Whether the statement only reads; False also for what does not parse. Raises EngineError for several."""
        found = self._anchor.classify_query(text)
        if int(str(found["statement_count"])) > 1:
            raise EngineError(62, "Syntax error: Multi-statements are not allowed", "SYNTAX_ERROR")
        return bool(found["query_class"] == _chdb.query_class.READ_ONLY)  # type: ignore[attr-defined]

    def run(self, context: Context, text: bytes, format: str) -> Answer:
        """Run a statement that changes nothing; what it answers is built in memory: it is not for large results."""
        with connected(context) as connection, engine_errors():
            result = connection.query(text, format)
            return Answer(progress_of(result), BytesIO(result.bytes()))

    def change(self, context: Context, text: bytes, format: str) -> Answer:
        """The same for any other statement; what it inserted is checked before the answer."""
        answer = self.run(context, text, format)
        self._parts.check_inserted()
        return answer

    def read(self, context: Context, select: bytes, tail: bytes, compression: str) -> Answer:
        """Run a statement that reads, with the engine writing its answer to disk: memory stays bounded.

        `select` is the text before FORMAT and `tail` the text from there on. `compression` is one of ClickHouse's
        names, or "none".
        """
        file = Path(f"answer-{uuid4().hex}")
        outfile = f"\nINTO OUTFILE '{file}' COMPRESSION '{compression}'\n".encode()
        try:
            with connected(context) as connection, engine_errors():
                result = connection.query(select + outfile + tail)
            _check_disk()
            return Answer(progress_of(result), file.open("rb"))
        finally:
            file.unlink(missing_ok=True)

    def insert(self, context: Context, head: bytes, settings: bytes, format: str) -> Insert:
        """Open an insert whose rows follow in pieces; `head` is the statement up to its SETTINGS, FORMAT or VALUES."""
        return Insert(opened(context), head, settings, format, self._parts.check_inserted)

    def kill(self, tag: str) -> None:
        """Ask the engine to stop a statement that runs; one that has ended is no error."""
        self._anchor.query(f"KILL QUERY WHERE Settings['log_comment'] = {quoted(tag)} ASYNC")

    def kill_all(self) -> None:
        self._anchor.query("KILL QUERY WHERE Settings['log_comment'] != '' ASYNC")

    def _watch(self) -> None:
        while not self._closing.wait(_MERGES_CHECKED_EVERY_S):
            try:
                self._parts.check_all()
            except EngineError as error:
                print(f"store: merged parts are checked later: {error}", file=sys.stderr)


def _check_disk() -> None:
    """An answer that finds no room on the disk is cut short without an error."""
    if shutil.disk_usage(".").free < _LEAST_FREE_FOR_ANSWERS:
        raise EngineError(243, "The store's disk is full: free some space, or give it another folder", NO_SPACE)
