"""How bodies are compressed on ClickHouse's HTTP interface: HTTP's content encodings and ClickHouse's own blocks.

Compressed bytes arrive in pieces of any size and leave in the clear, in bounded memory (zstd and Brotli are held
until they are whole, see `_Whole`). What is damaged or cut off raises BadBody, never passes for a shorter body.
"""

import struct
import zlib
from collections.abc import Callable, Iterable
from typing import Protocol

import cramjam
import lz4.block
import lz4.frame
from clickhouse_cityhash.cityhash import CityHash128

LARGEST_WHOLE_BYTES = 64 << 20
_LARGEST_BLOCK_BYTES = 256 << 20
_BLOCK_BYTES = 1 << 20
_LZ4, _ZSTD, _PLAIN = 0x82, 0x90, 0x02
_SIZES = struct.Struct("<BII")
_CHECKSUM = struct.Struct("<QQ")


class BadBody(Exception):
    """The body is not what its encoding says. The sender's fault; the same bytes fail again."""


class Decoder(Protocol):
    def feed(self, data: bytes) -> bytes: ...
    def finish(self) -> bytes: ...


def decoder(content_encoding: str) -> Decoder:
    """A fresh decoder for one body. Raises BadBody for an encoding that is not known."""
    match content_encoding:
        case "":
            return Plain()
        case "gzip" | "x-gzip" | "deflate":
            return _Zlib()
        case "lz4":
            return _Lz4()
        case "zstd":
            return _Whole("zstd", cramjam.zstd.decompress)
        case "br":
            return _Whole("Brotli", cramjam.brotli.decompress)
        case unknown:
            raise BadBody(f"Unknown compression method '{unknown}'; send gzip, deflate, br, zstd or lz4")


def best_encoding(accepted: str) -> str:
    """What to send, of what an Accept-Encoding names: the fastest first; "" for nothing known."""
    names = {name.partition(";")[0].strip() for name in accepted.lower().split(",")}
    return next((name for name in ("lz4", "zstd", "gzip", "br", "deflate") if name in names), "")


def blocks(data: bytes) -> Iterable[bytes]:
    """Bytes as ClickHouse's own compressed blocks (`compress=1`): checksum, method, two sizes, LZ4."""
    for at in range(0, len(data), _BLOCK_BYTES):
        plain = data[at : at + _BLOCK_BYTES]
        packed = lz4.block.compress(plain, store_size=False)
        framed = _SIZES.pack(_LZ4, _SIZES.size + len(packed), len(plain)) + packed
        yield _checksum(framed) + framed


class Plain:
    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class Blocks:
    """ClickHouse's own compressed blocks (`decompress=1`)."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> bytes:
        self._held += data
        plain = []
        while (block := self._next_block()) is not None:
            plain.append(block)
        return b"".join(plain)

    def finish(self) -> bytes:
        if self._held:
            raise BadBody("the last compressed block is cut off")
        return b""

    def _next_block(self) -> bytes | None:
        start = _CHECKSUM.size
        if len(self._held) < start + _SIZES.size:
            return None
        method, packed_size, plain_size = _SIZES.unpack_from(self._held, start)
        if not _SIZES.size <= packed_size <= _LARGEST_BLOCK_BYTES or plain_size > _LARGEST_BLOCK_BYTES:
            raise BadBody("a compressed block of impossible size; is the body compressed at all?")
        if len(self._held) < start + packed_size:
            return None
        framed = bytes(self._held[start : start + packed_size])
        if _checksum(framed) != self._held[:start]:
            raise BadBody("the checksum of a compressed block is wrong")
        del self._held[: start + packed_size]
        return _unpacked(method, framed[_SIZES.size :], plain_size)


class _Zlib:
    """gzip (also several members in a row) and deflate, told apart by their first bytes."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def feed(self, data: bytes) -> bytes:
        plain = []
        try:
            while data:
                if self._inflater.eof:
                    self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
                plain.append(self._inflater.decompress(data))
                data = self._inflater.unused_data
        except zlib.error as error:
            raise BadBody(f"cannot inflate: {error}") from None
        return b"".join(plain)

    def finish(self) -> bytes:
        if not self._inflater.eof:
            raise BadBody("the compressed body is cut off")
        return b""


class _Lz4:
    """LZ4 frames, also several in a row."""

    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameDecompressor()

    def feed(self, data: bytes) -> bytes:
        plain = []
        try:
            while data:
                if self._frame.eof:
                    self._frame = lz4.frame.LZ4FrameDecompressor()
                plain.append(self._frame.decompress(data))
                data = self._frame.unused_data or b""
        except RuntimeError as error:
            raise BadBody(f"cannot read LZ4: {error}") from None
        return b"".join(plain)

    def finish(self) -> bytes:
        if not self._frame.eof:
            raise BadBody("the compressed body is cut off")
        return b""


class _Whole:
    """Encodings that cramjam reads only when they are whole: the compressed body is held until its end."""

    def __init__(self, name: str, decompress: Callable[[bytearray], cramjam.Buffer]) -> None:
        self._name, self._decompress = name, decompress
        self._held = bytearray()

    def feed(self, data: bytes) -> bytes:
        self._held += data
        if len(self._held) > LARGEST_WHOLE_BYTES:
            largest = f"{LARGEST_WHOLE_BYTES >> 20} MB"
            raise BadBody(f"a {self._name} body may have {largest} at most; send several, or use gzip or lz4")
        return b""

    def finish(self) -> bytes:
        try:
            return bytes(self._decompress(self._held))
        except (OSError, cramjam.DecompressionError) as error:
            raise BadBody(f"cannot read {self._name}: {error}") from None


def _unpacked(method: int, packed: bytes, plain_size: int) -> bytes:
    if method == _PLAIN:
        return packed
    try:
        if method == _LZ4:
            return bytes(lz4.block.decompress(packed, uncompressed_size=plain_size))
        if method == _ZSTD:
            return bytes(cramjam.zstd.decompress(packed))
    except (lz4.block.LZ4BlockError, OSError, cramjam.DecompressionError) as error:
        raise BadBody(f"cannot read a compressed block: {error}") from None
    raise BadBody(f"a compressed block by method 0x{method:02x}; send LZ4 or ZSTD")


def _checksum(framed: bytes) -> bytes:
    number = CityHash128(framed)
    return _CHECKSUM.pack(number >> 64, number & 0xFFFFFFFFFFFFFFFF)
