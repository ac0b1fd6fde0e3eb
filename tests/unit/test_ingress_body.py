"""Bodies are bounded on the wire, decompressed, in time and all together."""

import asyncio
import gzip
from collections.abc import Iterable

import pytest

from ingress.body import BodyReader, ClientGone, Receive, decompressed
from ingress.errors import Problem

PLAIN = b'{"userId":"u"}'


def arriving(*parts: bytes, gone: bool = False, endless: bool = False) -> Receive:
    messages: Iterable[dict[str, object]] = (
        {"type": "http.request", "body": part, "more_body": gone or endless or number < len(parts) - 1}
        for number, part in enumerate(parts)
    )
    waiting = iter(messages)

    async def receive() -> dict[str, object]:
        if (message := next(waiting, None)) is not None:
            return message
        if endless:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return receive


def read(receive: Receive, headers: dict[bytes, bytes] | None = None, reader: BodyReader | None = None) -> object:
    return asyncio.run((reader or BodyReader(100, 1000, 0.01)).read(receive, headers or {}))


def test_body_in_parts_is_put_together() -> None:
    assert read(arriving(b"ab", b"", b"cd")) == b"abcd"


@pytest.mark.parametrize(("size", "expected"), [(100, b"x" * 100), (101, Problem.BODY_TOO_LARGE)])
def test_body_is_bounded_with_and_without_a_declared_length(size: int, expected: object) -> None:
    assert read(arriving(b"x" * size)) == expected
    assert read(arriving(*[b"x"] * size)) == expected
    assert read(arriving(b"x" * size), {b"content-length": b"%d" % size}) == expected


def test_declared_length_over_the_bound_is_refused_before_anything_is_read() -> None:
    async def unread() -> object:
        raise AssertionError("read")

    assert read(unread, {b"content-length": b"101"}) is Problem.BODY_TOO_LARGE
    assert read(unread, {b"content-length": b"9" * 5000}) is Problem.BODY_TOO_LARGE


def test_endless_body_is_refused_at_the_bound() -> None:
    assert read(arriving(*[b"x" * 10] * 11, endless=True)) is Problem.BODY_TOO_LARGE


def test_body_that_stops_coming_is_refused_in_time() -> None:
    assert read(arriving(b"x", endless=True)) is Problem.BODY_TIMEOUT


def test_client_that_leaves_is_not_answered() -> None:
    with pytest.raises(ClientGone):
        read(arriving(b"x", gone=True))
    with pytest.raises(ClientGone):
        read(arriving(gone=True))


def test_bodies_that_arrive_at_once_are_bounded_together_and_given_back() -> None:
    async def together() -> list[object]:
        reader = BodyReader(100, 150, 0.01)
        at_once = [reader.read(arriving(b"x" * 60, b"y" * 30, endless=True), {}) for _ in range(3)]
        outcomes: list[object] = list(await asyncio.gather(*at_once))
        return [*outcomes, await reader.read(arriving(b"x" * 60, b"y" * 30), {})]

    first, *others, after = asyncio.run(together())
    assert first is Problem.BODY_TIMEOUT
    assert Problem.OVERLOADED in others
    assert after == b"x" * 60 + b"y" * 30


@pytest.mark.parametrize("encoding", [b"gzip", b" GZIP ", b"x-gzip", b"", b"identity", b"br"])
def test_gzip_is_known_by_its_first_bytes_whatever_the_header_says(encoding: bytes) -> None:
    assert decompressed(gzip.compress(PLAIN), encoding, 100) == PLAIN


@pytest.mark.parametrize("encoding", [b"", b"identity", b"gzip"])
def test_plain_body_is_taken_as_plain(encoding: bytes) -> None:
    assert decompressed(PLAIN, encoding, 100) == PLAIN


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, gzip", b"chunked", b"\xff"])
def test_unknown_encoding_is_refused(encoding: bytes) -> None:
    assert decompressed(PLAIN, encoding, 100) is Problem.UNSUPPORTED_ENCODING


DAMAGED = {
    "cut": gzip.compress(PLAIN)[:-1],
    "only its first bytes": b"\x1f\x8b",
    "wrong checksum": gzip.compress(PLAIN)[:-8] + b"\0" * 8,
    "garbage behind": gzip.compress(PLAIN) + b"x",
    "two members": gzip.compress(b"{") + gzip.compress(b"}"),
    "garbage inside": b"\x1f\x8b\x08" + b"\xff" * 50,
}


@pytest.mark.parametrize("body", DAMAGED.values(), ids=DAMAGED)
def test_damaged_gzip_is_refused(body: bytes) -> None:
    assert decompressed(body, b"gzip", 100) is Problem.INVALID_ENCODING


def test_what_is_neither_gzip_nor_json_is_refused_where_gzip_was_said() -> None:
    assert decompressed(b"hello", b"gzip", 100) is Problem.INVALID_ENCODING


@pytest.mark.parametrize(("size", "expected"), [(100_000, b"x" * 100_000), (100_001, Problem.BODY_TOO_LARGE)])
def test_gzip_is_bounded_by_its_decompressed_size(size: int, expected: object) -> None:
    assert decompressed(gzip.compress(b"x" * size), b"gzip", 100_000) == expected


def test_gzip_within_gzip_is_opened_once() -> None:
    inner = gzip.compress(PLAIN)
    assert decompressed(gzip.compress(inner), b"gzip", 100) == inner
