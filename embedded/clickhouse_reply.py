"""What leaves on ClickHouse's HTTP interface: answers and refusals, with the headers that its clients read."""

import json
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

from embedded import clickhouse_coding as coding
from embedded.clickhouse_errors import http_status
from embedded.clickhouse_request import Request
from embedded.connection import Answer, EngineError

_PIECE_BYTES = 256 << 10

_TYPES = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8",
    "JSON": "application/json; charset=UTF-8",
    "XML": "application/xml; charset=UTF-8",
    "Native": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "Arrow": "application/octet-stream",
    "ORC": "application/octet-stream",
    "Avro": "application/octet-stream",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers."""

    version: str
    name: str = field(default_factory=socket.gethostname)
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Reply:
    """`in_blocks` asks for ClickHouse's own compression of the body."""

    status: int
    headers: Mapping[str, str]
    body: BinaryIO | bytes = b""
    in_blocks: bool = False


def text(status: int, words: str) -> Reply:
    return Reply(status, {"content-type": "text/plain; charset=UTF-8"}, words.encode())


def answered(identity: Identity, request: Request, answer: Answer, format: str, encoding: str = "") -> Reply:
    """`format` is that of the rows, and `encoding` how they are compressed already ("" for not at all)."""
    headers = {
        "content-type": _content_type(format),
        "x-clickhouse-format": format,
        "x-clickhouse-query-id": request.query_id,
        "x-clickhouse-summary": json.dumps({name: str(count) for name, count in asdict(answer.progress).items()}),
        "x-clickhouse-server-display-name": identity.name,
        "x-clickhouse-timezone": identity.timezone,
    }
    if encoding:
        headers["content-encoding"] = encoding
    return Reply(200, headers, answer.body, request.answer_in_blocks)


def refused(identity: Identity, error: EngineError) -> Reply:
    headers = {
        "content-type": "text/plain; charset=UTF-8",
        "x-clickhouse-exception-code": str(error.code),
        "x-clickhouse-server-display-name": identity.name,
    }
    status = http_status(error.code)
    if status == 503:
        headers["retry-after"] = "1"
    return Reply(status, headers, f"{error} (version {identity.version})\n".encode())


async def send_reply(
    reply: Reply, only_head: bool, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]
) -> None:
    """Send it in pieces; the body's file is closed at the end of it, however that comes."""
    headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in reply.headers.items()]
    try:
        if not reply.in_blocks:
            headers.append((b"content-length", str(_size(reply.body)).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        for piece in () if only_head else _pieces(reply):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})
    finally:
        if not isinstance(reply.body, bytes):
            reply.body.close()


def _pieces(reply: Reply) -> Iterator[bytes]:
    if isinstance(reply.body, bytes):
        yield reply.body
        return
    while piece := reply.body.read(_PIECE_BYTES):
        yield b"".join(coding.blocks(piece)) if reply.in_blocks else piece


def _size(body: BinaryIO | bytes) -> int:
    if isinstance(body, bytes):
        return len(body)
    size = body.seek(0, 2)
    body.seek(0)
    return size


def _content_type(format: str) -> str:
    found = [kind for name, kind in _TYPES.items() if format.startswith(name)]
    if "EachRow" in format:
        return "application/x-ndjson; charset=UTF-8"
    return found[0] if found else "text/plain; charset=UTF-8"
