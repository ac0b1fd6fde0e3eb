"""Takes a body's compression off: gzip, deflate, br and zstd, once, and never to more than a bound.

The body's own first bytes decide where they can (gzip and zstd begin with a mark), since clients mislabel what they
send; deflate and br have no mark, so there the header counts. What was said to be compressed and is plain JSON is taken
as it is.
"""

import zlib
from collections.abc import Callable

import cramjam

from ingress.errors import Problem

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_MARKS = (_GZIP_MAGIC, _ZSTD_MAGIC)
_JSON = (b"{", b"[")
_IDENTITY = (b"", b"identity")
# What cramjam says, in the words of Rust's standard library, when the buffer for the output is full.
_BUFFER_FULL = "failed to write whole buffer"


def decompressed(body: bytes, encoding: bytes, max_bytes: int) -> bytes | Problem:
    """The body as it was before compression; `encoding` is the Content-Encoding header."""
    if len(body) > max_bytes:
        return Problem.BODY_TOO_LARGE
    marked = body.startswith(_MARKS)
    if not (marked or encoding):
        return body
    codings = [coding for each in encoding.split(b",") if (coding := each.strip().lower()) not in _IDENTITY]
    if len(codings) > 1:
        return Problem.NESTED_ENCODING
    if marked:
        plain = (_gunzipped if body.startswith(_GZIP_MAGIC) else _unzstd)(body, max_bytes)
    elif codings:
        plain = _as_said(codings[0], body, max_bytes)
    else:
        return body
    return Problem.NESTED_ENCODING if isinstance(plain, bytes) and plain.startswith(_MARKS) else plain


def _as_said(coding: bytes, body: bytes, max_bytes: int) -> bytes | Problem:
    if coding not in _UNPACK:
        return Problem.UNSUPPORTED_ENCODING
    plain = _UNPACK[coding](body, max_bytes)
    # Brotli may begin with "[", so it is only after it proved not to be Brotli that this is JSON.
    return body if plain is Problem.INVALID_ENCODING and body.lstrip().startswith(_JSON) else plain


def _gunzipped(body: bytes, max_bytes: int) -> bytes | Problem:
    """One gzip member and nothing behind it: a body of a million empty members would keep us busy for minutes."""
    return _inflated(body, zlib.MAX_WBITS | 16, max_bytes)


def _undeflated(body: bytes, max_bytes: int) -> bytes | Problem:
    """With zlib's frame, as RFC 9110 has it, or without, as many clients send it."""
    plain = _inflated(body, zlib.MAX_WBITS, max_bytes)
    return _inflated(body, -zlib.MAX_WBITS, max_bytes) if plain is Problem.INVALID_ENCODING else plain


def _inflated(body: bytes, window_bits: int, max_bytes: int) -> bytes | Problem:
    inflater = zlib.decompressobj(window_bits)
    try:
        plain = inflater.decompress(body, max_bytes + 1)
    except zlib.error:
        return Problem.INVALID_ENCODING
    if len(plain) > max_bytes:
        return Problem.BODY_TOO_LARGE
    return plain if inflater.eof and not inflater.unused_data else Problem.INVALID_ENCODING


def _unzstd(body: bytes, max_bytes: int) -> bytes | Problem:
    return _within(cramjam.zstd.decompress_into, body, max_bytes)


def _unbrotli(body: bytes, max_bytes: int) -> bytes | Problem:
    return _within(cramjam.brotli.decompress_into, body, max_bytes)


def _within(decompress_into: Callable[[bytes, bytearray], int], body: bytes, max_bytes: int) -> bytes | Problem:
    """cramjam cannot stop half-way, but it writes no further than its buffer, which so is the bound."""
    plain = bytearray(max_bytes)
    try:
        size = decompress_into(body, plain)
    except cramjam.DecompressionError as error:
        return Problem.BODY_TOO_LARGE if _BUFFER_FULL in str(error) else Problem.INVALID_ENCODING
    return bytes(memoryview(plain)[:size])


_UNPACK: dict[bytes, Callable[[bytes, int], bytes | Problem]] = {
    b"gzip": _gunzipped,
    b"x-gzip": _gunzipped,
    b"deflate": _undeflated,
    b"zstd": _unzstd,
    b"br": _unbrotli,
}
