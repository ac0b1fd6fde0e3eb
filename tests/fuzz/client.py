"""Sends bytes over real sockets and reads one answer to each; an answer may also be that the connection is closed."""

import asyncio
import re
from dataclasses import dataclass

ANSWER_TIMEOUT_S = 30.0
# A request with a length that is a lie leaves the server waiting; it is right to.
UNFINISHED_TIMEOUT_S = 0.5

_ASSIGNED_ID = re.compile(rb'"event_id":"[0-9a-f]{32}"')
_SIZE = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Answered:
    """`status` is 0 where the server said nothing, since it has not had the whole request."""

    status: int
    body: bytes

    @property
    def settled(self) -> tuple[int, bytes]:
        """What must be the same when the same is sent again: an id that was assigned need not be."""
        return self.status, _ASSIGNED_ID.sub(b"", self.body)


class Connection:
    """One keep-alive connection, opened again whenever it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, sent: bytes) -> Answered:
        """Raises OSError where nobody listens any more."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        lies = is_unfinished(sent)
        try:
            async with asyncio.timeout(UNFINISHED_TIMEOUT_S if lies else ANSWER_TIMEOUT_S):
                writer.write(sent)
                status, body, keep = await _answer(reader, sent.startswith(b"HEAD "))
        except TimeoutError:
            if not lies:
                raise
            status, body, keep = 0, b"", False
        except (ConnectionError, asyncio.IncompleteReadError):
            status, body, keep = 0, b"", False
        if lies or not keep:
            self.close()
        return Answered(status, body)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _answer(reader: asyncio.StreamReader, is_head: bool) -> tuple[int, bytes, bool]:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        if status != 100:
            break
    size = _SIZE.search(head)
    body = b"" if size is None or is_head else await reader.readexactly(int(size[1]))
    return status, body, b"connection: close" not in head.lower()


def is_unfinished(sent: bytes) -> bool:
    """Whether it says that more is to come. Silence is then no answer: it may have come too late to be waited for."""
    head, _, body = sent.partition(b"\r\n\r\n")
    size = _SIZE.search(head + b"\r\n")
    return size is not None and int(size[1]) > len(body)
