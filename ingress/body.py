"""Reads a request's body whole, within bounds: on the wire, decompressed, in time, and over all requests at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ingress.encodings import decompressed
from ingress.errors import Problem

Receive = Callable[[], Awaitable[Any]]


class ClientGone(Exception):
    """The client closed the connection before its body was complete. There is nobody left to answer."""


class BodyReader:
    """Bodies of at most `max_bytes`, before and after decompression; all that arrive at once of `max_pending_bytes`."""

    def __init__(self, max_bytes: int, max_pending_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._max_pending_bytes = max_pending_bytes
        self._timeout_s = timeout_s
        self._pending_bytes = 0

    async def read(
        self, receive: Receive, headers: dict[bytes, bytes], max_bytes: int | None = None
    ) -> bytes | Problem:
        """The decompressed body, of at most `max_bytes` where the route has a bound of its own. Raises ClientGone."""
        max_bytes = max_bytes or self._max_bytes
        declared = headers.get(b"content-length", b"0")
        if len(declared) > 18 or int(declared) > max_bytes:
            return Problem.BODY_TOO_LARGE
        message = await receive()
        if message.get("more_body") or message["type"] != "http.request":
            body = await self._read_on(message, receive, max_bytes)
        else:
            body = message["body"]
        if not isinstance(body, bytes):
            return body
        return decompressed(body, headers.get(b"content-encoding", b""), max_bytes)

    async def _read_on(self, message: Any, receive: Receive, max_bytes: int) -> bytes | Problem:
        parts = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                while message["type"] == "http.request":
                    part: bytes = message["body"]
                    if len(parts) + len(part) > max_bytes:
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
