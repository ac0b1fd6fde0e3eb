"""Compressed bodies, in pieces of any size, whole or damaged."""

import gzip
import zlib
from collections.abc import Callable

import cramjam
import lz4.frame
import pytest

from embedded.clickhouse_coding import BadBody, Blocks, Decoder, best_encoding, blocks, decoder

PLAIN = b'{"event":"Order Completed"}\n' * 5000
ENCODED = {
    "gzip": gzip.compress(PLAIN),
    "deflate": zlib.compress(PLAIN),
    "br": bytes(cramjam.brotli.compress(PLAIN)),
    "zstd": bytes(cramjam.zstd.compress(PLAIN)),
    "lz4": bytes(lz4.frame.compress(PLAIN)),
    "": PLAIN,
}


def through(decoder: Decoder, data: bytes, step: int) -> bytes:
    fed = b"".join(decoder.feed(data[at : at + step]) for at in range(0, len(data), step))
    return fed + decoder.finish()


@pytest.mark.parametrize("step", [1, 100, 1 << 20])
@pytest.mark.parametrize("encoding", ENCODED)
def test_body_in_pieces_of_any_size_is_decoded(encoding: str, step: int) -> None:
    assert through(decoder(encoding), ENCODED[encoding], step) == PLAIN


@pytest.mark.parametrize("damaged", [lambda data: data[:-2], lambda data: b"", lambda data: b"no such thing"])
@pytest.mark.parametrize("encoding", [encoding for encoding in ENCODED if encoding])
def test_damaged_body_never_passes_for_a_shorter_one(encoding: str, damaged: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BadBody):
        through(decoder(encoding), damaged(ENCODED[encoding]), 100)


@pytest.mark.parametrize("encoding", ["gzip", "lz4"])
def test_compressed_bodies_one_after_another_are_one_body(encoding: str) -> None:
    assert through(decoder(encoding), ENCODED[encoding] * 2, 1000) == PLAIN * 2


def test_unknown_encoding_is_refused_by_name() -> None:
    with pytest.raises(BadBody, match="snappy"):
        decoder("snappy")


@pytest.mark.parametrize("step", [7, 1 << 20])
def test_own_blocks_come_back_as_they_were(step: int) -> None:
    long = PLAIN * 20

    assert through(Blocks(), b"".join(blocks(long)), step) == long


@pytest.mark.parametrize("at", [0, 16, 17, 21, 40])
def test_changed_byte_in_a_block_is_noticed(at: int) -> None:
    framed = bytearray(b"".join(blocks(PLAIN)))
    framed[at] ^= 0x55

    with pytest.raises(BadBody):
        through(Blocks(), bytes(framed), 100)


def test_fastest_encoding_that_the_client_knows_is_taken() -> None:
    assert best_encoding("br, gzip;q=0.5, zstd") == "zstd"
    assert best_encoding("identity") == ""
