"""The record batches that a producer sends, written in two thirds of aiokafka's instructions, and without its copies.

aiokafka's builder takes one record after the other into a buffer that it enlarges for each, and copies the whole of it
twice before it is compressed. Here the records are written in one pass (`broker/record_codec.pyx`). Where that
was not compiled, the builder does it.
"""

import sys
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Final

from aiokafka.codec import zstd_encode
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from broker import batch_header as header
from broker.batch_header import NO_CODEC, ZSTD
from topics.records import Record

try:
    from broker.record_codec import encode_records

    IS_COMPILED = True
except ImportError:  # whipstitch was installed where there is no C compiler
    IS_COMPILED = False

_ZSTD_LEVEL: Final = 1
_NO_LEADER_EPOCH: Final = -1


class EncodedBatch(BatchBuilder):  # type: ignore[misc]  # aiokafka has no types
    """As many of the records from `start` on as there is room for before they are compressed, but one at least: closed,
    and what aiokafka's own would be, byte for byte, but for what compression makes of it."""

    def __init__(self, records: Sequence[Record], start: int, most_bytes: int, codec: int = ZSTD) -> None:
        body, self._relative_offset, self._first, self._latest = encode_records(
            records, start, most_bytes - header.SIZE
        )
        self._body, self._codec = _compressed(body, codec)
        self._closed = True
        self._buffer: bytes | None = None
        self._producer = -1, -1, 0

    def size(self) -> int:
        return header.SIZE + len(self._body) if self._buffer is None else len(self._buffer)

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = producer_id, producer_epoch, base_sequence

    def _build(self) -> bytes:
        if self._buffer is None:
            self._buffer, self._body = self._built(), b""
        return self._buffer

    def _built(self) -> bytes:
        body, count = self._body, self._relative_offset
        first, latest = self._first, self._latest
        checked = header.CHECKED.pack(self._codec, count - 1, first, latest, *self._producer, count)
        crc = calc_crc32c(checked + body)
        size = header.SIZE - header.LENGTH.size + len(body)
        return b"".join((header.UNCHECKED.pack(0, size, _NO_LEADER_EPOCH, header.NEWEST_MAGIC, crc), checked, body))


def filled_batch(records: Sequence[Record], start: int, most_bytes: int, codec: int = ZSTD) -> BatchBuilder:
    """A batch of the records from `start` on that have room in it, one at least. Each batch costs a request, so it is
    tried with more than would have room as they are: compression makes a fifth of most."""
    if IS_COMPILED:
        for room in (4 * most_bytes, 2 * most_bytes):
            batch = EncodedBatch(records, start, room, codec)
            if batch.size() <= most_bytes:
                return batch
        return EncodedBatch(records, start, most_bytes, codec)
    compress_fast()
    batch = BatchBuilder(most_bytes, codec)
    for key, value, timestamp, headers in islice(records, start, None):
        if batch.append(timestamp=timestamp, key=key, value=value, headers=[*headers]) is None:
            break
    return batch


def _compressed(body: bytes, codec: int) -> tuple[bytes, int]:
    """By the codec, where that makes it smaller."""
    smaller = zstd_encode(body, level=_ZSTD_LEVEL) if codec == ZSTD else body
    return (smaller, codec) if len(smaller) < len(body) else (body, NO_CODEC)


def compress_fast() -> None:
    """aiokafka leaves the level to its library, which takes 3: no smaller than 1, at two to four times the CPU. It has
    no setting for it; this holds for all producers of the process, however often it is said."""
    module = sys.modules[DefaultRecordBatchBuilder.__module__]
    module.zstd_encode = partial(zstd_encode, level=_ZSTD_LEVEL)  # type: ignore[attr-defined]
