"""Bodies are bounded on the wire, decompressed, in time and all together."""

import asyncio
import gzip
from collections.abc import Iterable

import pytest

from ingress.body import BodyReader, ClientGone, Receive
from ingress.errors import Problem


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


def test_compressed_body_is_read_in_the_clear() -> None:
    assert read(arriving(gzip.compress(b"{}")), {b"content-encoding": b"gzip"}) == b"{}"
