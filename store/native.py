"""A store over ClickHouse's native protocol.

Rows to insert are decoded into typed columns and sent as one block. Thread-safe: each call takes a client of its own,
since a client serves one call at a time; a client reconnects by itself after a failure.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from queue import Empty, LifoQueue
from typing import Any, Final

from clickhouse_driver import Client, errors

from store.address import Address
from store.block import BlockShape
from store.columns import insertable, quoted
from store.errors import StoreError, away, error_of
from store.tables import INSERT_SETTINGS
from store.text_formats import writer

_CONNECT_TIMEOUT_S: Final = 5
# What it warns of is raised as well, and each failed attempt to connect would be a traceback in the log.
logging.getLogger("clickhouse_driver").setLevel(logging.ERROR)

_DRIVER_ERRORS: Final = (errors.Error, EOFError, OSError)


class NativeStore:
    """`timeout_s` is how long a silent server is waited for."""

    def __init__(self, address: Address, timeout_s: float = 300.0) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._idle: LifoQueue[Client] = LifoQueue()
        self._shapes: dict[str, BlockShape] = {}

    def insert(self, table: str, rows: Sequence[bytes], token: str) -> None:
        block = self._shape_of(table).block(rows)
        names = ", ".join(quoted(name) for name in block)
        settings = {"insert_deduplication_token": token, **INSERT_SETTINGS}
        sql = f"INSERT INTO {quoted(table)} ({names}) VALUES"
        with self._client(is_insert=True) as client:
            client.execute(sql, list(block.values()), settings=settings, columnar=True)

    def command(self, sql: str, params: Mapping[str, object] | None = None) -> None:
        with self._client() as client:
            client.execute(sql, dict(params) if params else None)

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
        with self._client() as client:
            rows, columns = client.execute(sql, dict(params) if params else None, with_column_types=True)
        names = [name for name, _ in columns]
        return [dict(zip(names, map(_value, row), strict=True)) for row in rows]

    def stream(self, sql: str, format: str) -> Iterator[bytes]:
        write = writer(format)
        with self._client() as client:
            rows = client.execute_iter(sql, with_column_types=True)
            names = [name for name, _ in next(rows)]
            yield from write(names, (list(map(_value, row)) for row in rows))

    def create_database(self) -> None:
        with self._client("default") as client:
            client.execute(f"CREATE DATABASE IF NOT EXISTS {quoted(self._address.database)}")

    def ping(self) -> None:
        with self._client("default") as client:
            client.execute("SELECT 1")

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait().disconnect()

    def _shape_of(self, table: str) -> BlockShape:
        if table not in self._shapes:
            self._shapes[table] = BlockShape(insertable(self.query(f"DESCRIBE TABLE {quoted(table)}")))
        return self._shapes[table]

    @contextmanager
    def _client(self, database: str | None = None, *, is_insert: bool = False) -> Iterator[Client]:
        """An idle client, or a new one; put back only where nothing went wrong. Another database has one to itself."""
        client = self._idle_client() if database is None else self._new_client(database)
        try:
            yield client
        except BaseException as error:
            client.disconnect()
            if isinstance(error, _DRIVER_ERRORS):
                raise _error(error, str(self._address), is_insert) from error
            raise
        if database is None:
            self._idle.put(client)
        else:
            client.disconnect()

    def _idle_client(self) -> Client:
        try:
            return self._idle.get_nowait()
        except Empty:
            return self._new_client(self._address.database)

    def _new_client(self, database: str) -> Client:
        return Client(
            host=self._address.host,
            port=self._address.port,
            user=self._address.user,
            password=self._address.password,
            database=database,
            secure=self._address.is_secure,
            compression="lz4",
            connect_timeout=_CONNECT_TIMEOUT_S,
            send_receive_timeout=self._timeout_s,
            settings={"server_side_params": True},
        )


def _value(value: object) -> object:
    """A value as the HTTP interface gives it: instants in UTC, and what is no UTF-8 as text with surrogates."""
    match value:
        case bytes():
            return value.decode("utf-8", "surrogateescape")
        case datetime():
            return value.astimezone(UTC)
        case _:
            return value


def _error(error: Exception, where: str, is_insert: bool) -> StoreError:
    match error:
        case errors.NetworkError() | errors.SocketTimeoutError() | EOFError() | OSError():
            return away(where, error)
        case errors.Error(code=code, message=message):
            return error_of(code, str(message), where, is_insert=is_insert)
        case _:
            raise AssertionError from error
