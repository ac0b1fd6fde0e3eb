"""What one partition of a replay has come to, on disk: a file of frames, one for each batch whose rows are stored.

A frame says up to where the partition is done, and what the batch added to the state that later records are decided
by. It is written once the batch's rows are in the store, so that after a kill the partition goes on at the last frame:
rows that were stored without one are stored again, and a repeat changes nothing. Each frame has the hash of its bytes;
a torn or damaged one ends the file.
"""

import fcntl
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Final, Self

import msgspec
import numpy as np

from pipeline.receipts import Receipts
from replay.errors import Interrupted

_HEAD: Final = struct.Struct("<I16s")


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """`position` is the offset that is next. `ids` are claimed ids one after the other, 16 bytes each, and
    `received_at` their receipts in Unix seconds as 8-byte floats of this machine. `owners` are rows of the identity
    table, None where one goes. `counts` are sums since the partition's beginning."""

    position: int
    ids: bytes
    received_at: bytes
    owners: dict[bytes, bytes | None]
    counts: dict[str, int]

    @classmethod
    def of(
        cls,
        position: int,
        claimed: Receipts,
        owners: Mapping[bytes, bytes | None],
        counts: Mapping[str, int],
    ) -> Self:
        received_at = claimed.received_at_ms / 1000
        return cls(position, claimed.ids(), received_at.tobytes(), dict(owners), dict(counts))

    def claimed(self) -> Receipts:
        return Receipts.of([self.ids], np.frombuffer(self.received_at))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode


class Journal:
    """One partition's file, which one process has at a time: to open it waits for the other to end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a+b")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def frames(self) -> Iterator[Frame]:
        """All whole frames, in order. What follows the last is cut off, so that it can be followed."""
        self._file.seek(0)
        end = 0
        while (frame := _next(self._file)) is not None:
            end = self._file.tell()
            yield frame
        self._file.truncate(end)

    def append(self, frame: Frame) -> None:
        """Raises Interrupted where the disk does not take it; then the frame may be torn, and nothing may follow it in
        this process."""
        body = _encode(frame)
        try:
            self._file.write(_HEAD.pack(len(body), _digest(body)) + body)
            self._file.flush()
        except OSError as error:
            raise Interrupted(f"{self._path}: cannot be written: {error.strerror}; make room there") from error

    def close(self) -> None:
        with suppress(OSError):  # the rest of a frame that could not be written, as `append` has told
            self._file.close()


def _next(file: BinaryIO) -> Frame | None:
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    size, digest = _HEAD.unpack(head)
    body = file.read(size)
    return _decode(body) if len(body) == size and _digest(body) == digest else None


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()
