"""The store as the rest of whipstitch sees it: rows in, statements, rows out, over ClickHouse's HTTP or native wire.

Rows to insert arrive as JSON objects, one a row, exactly as they stand in the topics. A confirmed insert is on the
server. Nothing here retries: an insert that failed with StoreUnavailable is safe to repeat with the same rows and the
same token, because the tables hide repeats, and no other error is helped by it.

Stores are thread-safe and block: call them from threads.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from store.address import address_of
from store.errors import BadRows, StoreError, StoreFailure, StoreUnavailable
from store.http import HttpStore

__all__ = ["BadRows", "Row", "Store", "StoreError", "StoreFailure", "StoreUnavailable", "open_store"]

Row = dict[str, Any]
"""Column: value. Instants are aware datetimes in UTC, UUIDs are UUID, JSON is dict."""


class Store(Protocol):
    """Every method raises StoreError; see `store.errors` for which of its classes means what."""

    def insert(self, table: str, rows: Sequence[bytes], token: str) -> None:
        """Store rows, JSON objects whose members are columns of the table; all rows have the same members. Each of
        `rows` is one or several of them, separated by line breaks.

        Returns when they are stored. `token` names this set of rows in this order: the server drops a repeat.
        """

    def command(self, sql: str, params: Mapping[str, object] | None = None) -> None:
        """Run a statement that answers no rows. `params` fill `{name:Type}`."""

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        """All rows of a statement without a FORMAT clause. `params` fill `{name:Type}`."""

    def stream(self, sql: str, format: str) -> Iterator[bytes]:
        """A query's answer in one of ClickHouse's formats, piece by piece. The native wire knows only a few."""

    def create_database(self) -> None:
        """Make the address's database where it is missing."""

    def ping(self) -> None:
        """Return when the server answers."""

    def close(self) -> None: ...


def open_store(url: str) -> Store:
    """A store by its address: `clickhouse[s]://user:password@host:9000/database` speaks the native wire,
    `http[s]://user:password@host:8123/database` the HTTP interface. Connects at the first call.

    Raises StoreFailure for an address that is neither.
    """
    match urlsplit(url).scheme:
        case "http" | "https":
            return HttpStore(address_of(url))
        case "clickhouse" | "clickhouses":
            from store.native import NativeStore  # its driver is 30 MB that the HTTP interface has no use for

            return NativeStore(address_of(url))
        case scheme:
            raise StoreFailure(f"no store speaks {scheme!r}; write clickhouse://… or http://… in WHIPSTITCH_STORE")
