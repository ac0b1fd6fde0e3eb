"""The batches that producers send: what aiokafka would have made of the same records, at less cost."""

import sys

import pytest
from aiokafka.codec import zstd_encode
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from bench import load
from broker.producer import compress_fast, fill

UNCOMPRESSED, ZSTD = 0, 4
RECORDS = [record for _, record in load.records(500, 1)]


def batch(compression: int) -> bytes:
    builder = DefaultRecordBatchBuilder(
        2, compression, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=1 << 24
    )
    for offset, (key, value, timestamp, headers) in enumerate(RECORDS):
        builder.append(offset, timestamp=timestamp, key=key, value=value, headers=[*headers])
    return bytes(builder.build())


def test_fast_batch_holds_the_same_records_in_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[DefaultRecordBatchBuilder.__module__], "zstd_encode", zstd_encode)
    usual = batch(ZSTD)
    compress_fast()
    fast = batch(ZSTD)
    assert fast != usual
    assert len(fast) < 1.05 * len(usual)
    found = [(record.key, record.value) for record in MemoryRecords(fast).next_batch()]
    assert found == [(key, value) for key, value, *_ in RECORDS]


@pytest.mark.parametrize("start", [0, 490, 499])
@pytest.mark.parametrize("size", [1, 20_000, 1 << 24])
def test_filled_batch_is_the_one_that_its_own_append_makes(size: int, start: int) -> None:
    plain, filled = BatchBuilder(size, UNCOMPRESSED), BatchBuilder(size, UNCOMPRESSED)
    taken = 0
    for key, value, timestamp, headers in RECORDS[start:]:
        if plain.append(timestamp=timestamp, key=key, value=value, headers=[*headers]) is None:
            break
        taken += 1
    assert fill(filled, RECORDS, start) == start + taken
    assert taken > 0
    assert filled.record_count() == plain.record_count()
    assert bytes(filled._build()) == bytes(plain._build())
