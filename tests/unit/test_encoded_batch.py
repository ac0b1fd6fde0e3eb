"""The batches that producers send: what aiokafka would have made of the same records, at less cost."""

import sys

import pytest
from aiokafka.codec import zstd_encode
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given

from bench import load
from broker import encoded_batch
from broker.batch_header import NO_CODEC, ZSTD
from broker.encoded_batch import EncodedBatch, compress_fast, filled_batch
from tests import compiled
from tests.kafka_batches import MIXED, builder, built, record_lists
from topics.lines import Lines
from topics.records import Record

compiled.needs("broker.record_codec")

LOADED = [record for _, record in load.records(500, 1)]


@pytest.mark.parametrize("start", [0, 490, 499])
@pytest.mark.parametrize("size", [1, 20_000, 1 << 24])
def test_batch_is_the_one_that_aiokafka_builds(size: int, start: int) -> None:
    batch = EncodedBatch(LOADED, start, size, NO_CODEC)
    assert batch._build() == built(LOADED[start:], batch_size=size)
    assert batch.closed()


def test_there_is_room_for_exactly_as_much_as_in_aiokafkas() -> None:
    whole = EncodedBatch(MIXED[:2], 0, 1 << 24, NO_CODEC).size()
    counts = []
    for size in (whole - 1, whole, whole + 1):
        batch = EncodedBatch(MIXED[:2], 0, size, NO_CODEC)
        counts.append(batch.record_count())
        assert batch._build() == built(MIXED[:2], batch_size=size)
    assert counts == [1, 1, 2]


@given(record_lists)
def test_any_records_are_written_as_aiokafka_writes_them(records: list[Record]) -> None:
    batch = EncodedBatch(records, 0, 1 << 24, NO_CODEC)
    assert batch.size() == len(built(records))
    assert batch._build() == built(records)
    assert batch.record_count() == len(records)


def test_producer_is_written_into_it_and_it_is_built_once() -> None:
    plain, batch = builder(MIXED), EncodedBatch(MIXED, 0, 1 << 24, NO_CODEC)
    plain.set_producer_state(7, 3, 12_345)
    batch._set_producer_state(7, 3, 12_345)
    assert batch._build() == bytes(plain.build())
    assert batch._build() is batch._build()


def test_compressed_batch_holds_the_same_records_in_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[DefaultRecordBatchBuilder.__module__], "zstd_encode", zstd_encode)
    usual, fast = built(LOADED, ZSTD), bytes(EncodedBatch(LOADED, 0, 1 << 24)._build())
    compress_fast()
    assert fast == built(LOADED, ZSTD) != usual
    assert len(fast) < 1.05 * len(usual)
    found = [(record.key, record.value) for record in MemoryRecords(fast).next_batch()]
    assert found == [(key, value) for key, value, *_ in LOADED]


LINES = Lines()
for each in (*MIXED, *LOADED):
    LINES.append(each[0], b'{"at":%d}' % each[2], each[2])


@pytest.mark.parametrize("start", [0, 1, len(LINES) - 1])
@pytest.mark.parametrize("size", [1, 5_000, 1 << 24])
def test_lines_are_written_as_the_records_that_they_are(size: int, start: int) -> None:
    lines, records = (EncodedBatch(those, start, size, NO_CODEC) for those in (LINES, [*LINES]))
    assert lines._build() == records._build() == built([*LINES][start:], batch_size=size)
    assert lines.record_count() == records.record_count()


def test_lines_without_a_line_for_each_key_are_no_records() -> None:
    lines = Lines()
    lines.extend(b"{}\n", [b"k", b"k"], [1, 2])
    with pytest.raises(ValueError, match="more keys than lines"):
        EncodedBatch(lines, 0, 1 << 24)


def test_what_compression_would_enlarge_is_sent_as_it_is() -> None:
    records: list[Record] = [(None, b"x", 5, ())]
    assert EncodedBatch(records, 0, 1 << 24)._build() == built(records)


def test_wrong_types_are_told() -> None:
    for record in ((None, "text", 5, ()), ("text", b"", 5, ()), (None, b"", "5", ()), (None, b"", 5, (("name", "v"),))):
        with pytest.raises(TypeError):
            EncodedBatch([record], 0, 1 << 24)  # type: ignore[list-item]


@pytest.mark.parametrize("start", [0, 490])
@pytest.mark.parametrize("size", [1, 20_000])
def test_without_a_compiler_aiokafka_builds_it(monkeypatch: pytest.MonkeyPatch, size: int, start: int) -> None:
    expected = filled_batch(LOADED, start, size, NO_CODEC)
    monkeypatch.setattr(encoded_batch, "IS_COMPILED", False)
    plain = filled_batch(LOADED, start, size, NO_CODEC)
    assert type(plain) is BatchBuilder
    assert plain.record_count() == expected.record_count()
    assert bytes(plain._build()) == expected._build()
