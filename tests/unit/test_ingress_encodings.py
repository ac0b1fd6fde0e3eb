"""Compression comes off once, by what the body itself shows, and never to more than the bound."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import cramjam
import pytest

from ingress.encodings import decompressed
from ingress.errors import Problem

PLAIN = b'{"userId":"u"}'


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def zstd(data: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(data))


def brotli(data: bytes) -> bytes:
    return bytes(cramjam.brotli.compress(data, level=3))


PACK: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"gzip", gzip.compress),
    "zlib": (b"deflate", zlib.compress),
    "raw deflate": (b"deflate", raw_deflate),
    "zstd": (b"zstd", zstd),
    "brotli": (b"br", brotli),
}
every_coding = pytest.mark.parametrize(("coding", "pack"), PACK.values(), ids=PACK)


@every_coding
def test_every_coding_is_taken_off(coding: bytes, pack: Callable[[bytes], bytes]) -> None:
    assert decompressed(pack(PLAIN), coding, 100) == PLAIN
    assert decompressed(pack(PLAIN), b" %b , identity" % coding.upper(), 100) == PLAIN


@pytest.mark.parametrize("said", [b"", b"identity", b"br", b"gzip", b"zstd", b"deflate", b"unheard-of"])
@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_body_with_a_mark_is_known_by_it_whatever_the_header_says(pack: Callable[[bytes], bytes], said: bytes) -> None:
    assert decompressed(pack(PLAIN), said, 100) == PLAIN


@pytest.mark.parametrize("said", [b"", b"identity", b"br", b"gzip", b"zstd", b"deflate"])
@pytest.mark.parametrize("plain", [PLAIN, b' [{"event":"x"}]', b"{}", b"[]", b"[" * 70_000])
def test_plain_json_is_taken_as_plain_whatever_the_header_says(plain: bytes, said: bytes) -> None:
    assert decompressed(plain, said, 100_000) == plain


@pytest.mark.parametrize("said", [b"gzip", b"br", b"zstd", b"deflate"])
@pytest.mark.parametrize("body", [b"hello", b"data=e30=", b"\xff" * 50, b""])
def test_what_is_neither_compressed_nor_json_is_refused(body: bytes, said: bytes) -> None:
    assert decompressed(body, said, 100) is Problem.INVALID_ENCODING


def test_unknown_coding_is_refused() -> None:
    assert decompressed(PLAIN, b"lzma", 100) is Problem.UNSUPPORTED_ENCODING
    assert decompressed(PLAIN, b"\xff", 100) is Problem.UNSUPPORTED_ENCODING


@every_coding
def test_bomb_is_refused_at_the_bound_and_not_opened(coding: bytes, pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(40_000_000))
    tracemalloc.start()
    try:
        assert decompressed(bomb, coding, 1_000_000) is Problem.BODY_TOO_LARGE
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@every_coding
@pytest.mark.parametrize(("size", "expected"), [(50_000, b"x" * 50_000), (50_001, Problem.BODY_TOO_LARGE)])
def test_bound_counts_decompressed_bytes(
    coding: bytes, pack: Callable[[bytes], bytes], size: int, expected: object
) -> None:
    assert decompressed(pack(b"x" * size), coding, 50_000) == expected


@every_coding
def test_cut_body_is_refused(coding: bytes, pack: Callable[[bytes], bytes]) -> None:
    assert decompressed(pack(PLAIN * 5)[:-1], coding, 100) is Problem.INVALID_ENCODING


DAMAGED = {
    "only its first bytes": b"\x1f\x8b",
    "wrong checksum": gzip.compress(PLAIN, mtime=0)[:-8] + b"\0" * 8,
    "garbage behind": gzip.compress(PLAIN, mtime=0) + b"x",
    "two members": gzip.compress(b"{", mtime=0) + gzip.compress(b"}"),
    "garbage inside": b"\x1f\x8b\x08" + b"\xff" * 50,
    "zstd with garbage behind": zstd(PLAIN) + b"x",
    "zstd's mark alone": b"\x28\xb5\x2f\xfd",
}


@pytest.mark.parametrize("body", DAMAGED.values(), ids=DAMAGED)
def test_damaged_body_is_refused(body: bytes) -> None:
    assert decompressed(body, b"", 100) is Problem.INVALID_ENCODING


@pytest.mark.parametrize("inner", [gzip.compress, zstd])
@every_coding
def test_what_is_compressed_twice_is_refused(
    coding: bytes, pack: Callable[[bytes], bytes], inner: Callable[[bytes], bytes]
) -> None:
    assert decompressed(pack(inner(PLAIN)), coding, 100) is Problem.NESTED_ENCODING


@pytest.mark.parametrize("said", [b"gzip, gzip", b"br,gzip", b"identity, zstd, gzip"])
@pytest.mark.parametrize("body", [PLAIN, gzip.compress(PLAIN, mtime=0)])
def test_header_with_two_codings_is_refused(body: bytes, said: bytes) -> None:
    assert decompressed(body, said, 100) is Problem.NESTED_ENCODING


def test_body_over_the_bound_is_not_looked_into() -> None:
    assert decompressed(b"x" * 101, b"br", 100) is Problem.BODY_TOO_LARGE
