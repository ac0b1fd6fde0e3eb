"""The body of one request: pieces as the network brings them in, plain bytes of the wanted size out.

No more than one piece is held beyond what was asked for, whatever the body's size. Raises Gone as soon as the client
is seen to have left, and coding.BadBody where the bytes are not what their encoding says.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from embedded.clickhouse_coding import Decoder

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# What is compressed may grow a thousandfold: small pieces of it keep what comes out small too.
_PIECE_BYTES = 16 << 10


class Gone(Exception):
    """The client has left before its answer was there."""


class Body:
    """Call `decode` before the first `read`; the decoders are put on in that order."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._decoders: tuple[Decoder, ...] = ()
        self._pieces = self._decoded()

    def decode(self, *decoders: Decoder) -> None:
        self._decoders = decoders

    async def read(self, at_least: int) -> bytes:
        """That many bytes or a little more; fewer only at the end of the body, and b"" after it."""
        taken: list[bytes] = []
        size = 0
        while size < at_least:
            piece = await anext(self._pieces, None)
            if piece is None:
                break
            taken.append(piece)
            size += len(piece)
        return b"".join(taken)

    async def gone(self) -> None:
        """Return once the client has left. Only after the whole body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _decoded(self) -> AsyncIterator[bytes]:
        async for piece in self._received():
            yield self._through(piece)
        for index, decoder in enumerate(self._decoders):
            rest = await asyncio.to_thread(decoder.finish)
            yield self._through(rest, index + 1)

    async def _received(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            chunk, more = message.get("body", b""), message.get("more_body", False)
            step = _PIECE_BYTES if self._decoders else max(1, len(chunk))
            for at in range(0, len(chunk), step):
                yield chunk[at : at + step]

    def _through(self, data: bytes, first: int = 0) -> bytes:
        for decoder in self._decoders[first:]:
            data = decoder.feed(data)
        return data
