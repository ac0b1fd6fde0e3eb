"""What producers compress is read back as it was, and is no larger than at the level that aiokafka would take."""

import sys

import pytest
from aiokafka.codec import zstd_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from bench import load
from broker.producer import compress_fast

ZSTD = 4
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
