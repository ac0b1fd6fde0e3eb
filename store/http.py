"""A store over ClickHouse's HTTP interface: the embedded one, or any server.

Rows to insert are passed through as they came, with line breaks between; only the server looks into them. Thread-safe:
each call takes a connection of its own from a pool.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import urllib3

from store.address import Address
from store.columns import insertable, quoted
from store.errors import StoreError, StoreFailure, StoreUnavailable, away, error_of
from store.tables import INSERT_SETTINGS
from store.values import as_parameter, reader

_ROWS: Final = "JSONCompactEachRowWithNamesAndTypes"
_QUERY_SETTINGS: Final = {
    "default_format": _ROWS,
    "wait_end_of_query": 1,
    "date_time_output_format": "iso",
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_decimals": 1,
    "output_format_json_quote_denormals": 1,
}
_CONNECT_TIMEOUT_S: Final = 5.0
_CONNECTIONS: Final = 16
_PIECE_BYTES: Final = 1 << 16
_LARGE_BYTES: Final = 1 << 16


class HttpStore:
    """`timeout_s` is how long a silent server is waited for."""

    def __init__(self, address: Address, timeout_s: float = 300.0) -> None:
        self._address = address
        self._pool = urllib3.connection_from_url(
            f"{'https' if address.is_secure else 'http'}://{address.netloc}",
            maxsize=_CONNECTIONS,
            retries=False,
            timeout=urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=timeout_s),
            headers={"X-ClickHouse-User": address.user, "X-ClickHouse-Key": address.password},
        )
        self._columns: dict[str, str] = {}

    def insert(self, table: str, rows: Sequence[bytes], token: str) -> None:
        head = f"INSERT INTO {quoted(table)} ({self._columns_of(table)}) FORMAT JSONEachRow"
        asked = {"query": head, "wait_end_of_query": 1, "insert_deduplication_token": token, **INSERT_SETTINGS}
        self._ask(asked, _lines(rows), is_insert=True)

    def command(self, sql: str, params: Mapping[str, object] | None = None) -> None:
        self._ask({"wait_end_of_query": 1, **_parameters(params)}, sql.encode())

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
        answer = self._ask({**_QUERY_SETTINGS, **_parameters(params)}, sql.encode())
        lines = answer.decode("utf-8", "surrogateescape").split("\n")
        if not lines[0]:
            return []
        names, types = json.loads(lines[0]), json.loads(lines[1])
        readers = [reader(written) for written in types]
        return [
            {name: read(value) for name, read, value in zip(names, readers, json.loads(line), strict=True)}
            for line in lines[2:]
            if line
        ]

    def stream(self, sql: str, format: str) -> Iterator[bytes]:
        response = self._send({"default_format": format}, sql.encode())
        try:
            yield from response.stream(_PIECE_BYTES)
        except urllib3.exceptions.HTTPError as error:
            raise away(str(self._address), f"the answer broke off ({error})") from error
        finally:
            response.close()

    def create_database(self) -> None:
        self._ask({"database": "default"}, f"CREATE DATABASE IF NOT EXISTS {quoted(self._address.database)}".encode())

    def ping(self) -> None:
        self._ask({"database": "default"}, b"SELECT 1")

    def close(self) -> None:
        self._pool.close()

    def _columns_of(self, table: str) -> str:
        if table not in self._columns:
            described = insertable(self.query(f"DESCRIBE TABLE {quoted(table)}"))
            self._columns[table] = ", ".join(quoted(name) for name in described)
        return self._columns[table]

    def _ask(self, asked: Mapping[str, object], body: bytes | Sequence[bytes], *, is_insert: bool = False) -> bytes:
        response = self._send(asked, body, is_insert=is_insert)
        try:
            return response.read()
        except urllib3.exceptions.HTTPError as error:
            raise away(str(self._address), f"the answer broke off ({error})") from error
        finally:
            response.release_conn()

    def _send(
        self, asked: Mapping[str, object], body: bytes | Sequence[bytes], *, is_insert: bool = False
    ) -> urllib3.BaseHTTPResponse:
        """The response with its body still to be read. Always a POST: over GET the server lets nothing be written."""
        url = "/?" + urlencode({"database": self._address.database, **asked})
        size = len(body) if isinstance(body, bytes) else sum(map(len, body))
        headers = {**self._pool.headers, "Content-Length": str(size)}
        try:
            response = self._pool.request("POST", url, body=body, headers=headers, preload_content=False)
            if response.status == 200 and "X-ClickHouse-Exception-Code" not in response.headers:
                return response
            text = response.read().decode(errors="replace")
        except urllib3.exceptions.HTTPError as error:
            raise away(str(self._address), error) from error
        response.release_conn()
        raise _error(response, text, str(self._address), is_insert)


def _lines(rows: Sequence[bytes]) -> list[bytes]:
    """Rows as the pieces of a body. Small ones are joined; to copy large ones together would take as much memory again,
    and a page fault for each 4 KB of it."""
    if sum(map(len, rows)) < _LARGE_BYTES * len(rows):
        return [b"\n".join(rows)]
    return [piece for row in rows for piece in (row, b"\n")]


def _parameters(params: Mapping[str, object] | None) -> dict[str, str]:
    return {f"param_{name}": as_parameter(value) for name, value in (params or {}).items()}


def _error(response: urllib3.BaseHTTPResponse, text: str, where: str, is_insert: bool) -> StoreError:
    found = re.search(r"Code: (\d+)", text)
    code = response.headers.get("X-ClickHouse-Exception-Code") or (found and found[1])
    if code:
        return error_of(int(code), text, where, is_insert=is_insert)
    if response.status >= 500:
        return StoreUnavailable(
            f"the store at {where} answered HTTP {response.status} without a ClickHouse error; retry"
        )
    return StoreFailure(f"what listens at {where} is no ClickHouse (HTTP {response.status}); correct WHIPSTITCH_STORE")
