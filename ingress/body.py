"""Reads a request's body whole, within bounds: on the wire, decompressed, in time, and over all requests at once."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from ingress.errors import Problem

Receive = Callable[[], Awaitable[Any]]

_GZIP_MAGIC = b"\x1f\x8b"
_PLAIN = (b"", b"identity")
_GZIP = (b"gzip", b"x-gzip")


class ClientGone(Exception):
    """The client closed the connection before its body was complete. There is nobody left to answer."""


class BodyReader:
    """Bodies of at most `max_bytes`, before and after decompression; all that arrive at once of `max_pending_bytes`."""

    def __init__(self, max_bytes: int, max_pending_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._max_pending_bytes = max_pending_bytes
        self._timeout_s = timeout_s
        self._pending_bytes = 0

    async def read(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes | Problem:
        """The decompressed body. Raises ClientGone."""
        declared = headers.get(b"content-length", b"0")
        if len(declared) > 18 or int(declared) > self._max_bytes:
            return Problem.BODY_TOO_LARGE
        message = await receive()
        if message.get("more_body") or message["type"] != "http.request":
            body = await self._read_on(message, receive)
        else:
            body = message["body"]
        if not isinstance(body, bytes):
            return body
        return decompressed(body, headers.get(b"content-encoding", b""), self._max_bytes)

    async def _read_on(self, message: Any, receive: Receive) -> bytes | Problem:
        parts = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                while message["type"] == "http.request":
                    part: bytes = message["body"]
                    if len(parts) + len(part) > self._max_bytes:
                        return Problem.BODY_TOO_LARGE
                    if self._pending_bytes + len(part) > self._max_pending_bytes:
                        return Problem.OVERLOADED
                    parts += part
                    self._pending_bytes += len(part)
                    if not message["more_body"]:
                        return bytes(parts)
                    message = await receive()
        except TimeoutError:
            return Problem.BODY_TIMEOUT
        finally:
            self._pending_bytes -= len(parts)
        raise ClientGone


def decompressed(body: bytes, encoding: bytes, max_bytes: int) -> bytes | Problem:
    """The body as it was before compression. Its own first bytes decide, as clients of old mislabel it: gzip counts
    with any header or none, and what is plain is taken as plain."""
    if len(body) > max_bytes:
        return Problem.BODY_TOO_LARGE
    if body.startswith(_GZIP_MAGIC):
        return _gunzipped(body, max_bytes)
    coding = encoding.strip().lower()
    if coding in _PLAIN:
        return body
    if coding in _GZIP:
        return body if body.lstrip()[:1] in (b"{", b"[") else Problem.INVALID_ENCODING
    return Problem.UNSUPPORTED_ENCODING


def _gunzipped(body: bytes, max_bytes: int) -> bytes | Problem:
    """One gzip member and nothing behind it: a body of a million empty members would keep us busy for minutes."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(body, max_bytes + 1)
    except zlib.error:
        return Problem.INVALID_ENCODING
    if len(plain) > max_bytes:
        return Problem.BODY_TOO_LARGE
    return plain if inflater.eof and not inflater.unused_data else Problem.INVALID_ENCODING
