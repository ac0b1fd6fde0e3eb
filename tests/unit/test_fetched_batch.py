"""What is read of a record batch is what aiokafka reads of it, whatever its bytes."""

import asyncio
import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import pytest
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.errors import CorruptRecordException
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import ConsumerRecord, TopicPartition
from hypothesis import given

from broker.batch_header import NO_CODEC, ZSTD
from tests import compiled
from tests.kafka_batches import GZIP, MIXED, built, record_lists
from topics.records import Record

compiled.needs("broker.record_codec")

from broker.fetched_batch import FetchedBatches, LightFetchResult, LightPartitionRecords  # noqa: E402
from broker.record_codec import LightRecord  # noqa: E402

AT = TopicPartition("events.raw", 3)
FIRST = 7
NAMES = [field.name for field in fields(ConsumerRecord)]
IN_A_BATCH = ["offset", "timestamp", "timestamp_type", "key", "value", "headers"]


def plain(data: bytes, first: int = 0) -> list[ConsumerRecord]:
    return [*PartitionRecords(AT, MemoryRecords(data), [], first, None, None, True, 0)]


def light(data: bytes, first: int = 0) -> list[LightRecord | ConsumerRecord]:
    return LightPartitionRecords(AT, FetchedBatches(data), [], first, None, None, True, 0).take(None)


def all_members(records: Iterable[object], names: Sequence[str] = NAMES) -> list[list[Any]]:
    return [[getattr(record, name) for name in names] for record in records]


def at_offset(batch: bytes, offset: int) -> bytes:
    """The same batch at another place of its partition."""
    return struct.pack(">q", offset) + batch[8:]


def with_attributes(batch: bytes, attributes: int) -> bytes:
    """The same batch with these set as well, and the checksum that belongs to it."""
    checked = struct.pack(">h", struct.unpack_from(">h", batch, 21)[0] | attributes) + batch[23:]
    return batch[:17] + struct.pack(">I", calc_crc32c(checked)) + checked


@pytest.mark.parametrize("codec", [NO_CODEC, ZSTD])
@pytest.mark.parametrize("attributes", [0, 0x08], ids=["created", "appended"])
def test_each_member_of_each_record_is_that_of_aiokafka(codec: int, attributes: int) -> None:
    data = with_attributes(built(MIXED, codec), attributes) + built(MIXED[:3], codec)
    assert all_members(light(data, FIRST)) == all_members(plain(data, FIRST))
    assert {*map(type, light(data))} == {LightRecord}


@given(record_lists)
def test_any_records_are_read_as_aiokafka_reads_them(records: list[Record]) -> None:
    assert all_members(light(built(records))) == all_members(plain(built(records)))


@pytest.mark.parametrize("name", ["gzip", "transaction", "control"])
def test_what_whipstitch_would_not_write_is_left_to_aiokafka(name: str) -> None:
    data = {
        "gzip": built(MIXED, GZIP),
        "transaction": built(MIXED, is_transactional=1),
        "control": with_attributes(built(MIXED), 0x20),
    }[name]
    data = built(MIXED) + at_offset(data, len(MIXED)) + at_offset(built(MIXED), 2 * len(MIXED))
    found = light(data)
    assert all_members(found) == all_members(plain(data))
    kinds = [*map(type, found)]
    assert kinds == [LightRecord] * len(MIXED) + [ConsumerRecord] * (len(found) - len(MIXED))
    one_by_one = LightPartitionRecords(AT, FetchedBatches(data), [], 0, None, None, True, 0)
    assert all_members([*one_by_one]) == all_members(found)


@pytest.mark.parametrize("magic", [0, 1])
def test_old_formats_are_left_to_aiokafka(magic: int) -> None:
    old = LegacyRecordBatchBuilder(magic=magic, compression_type=0, batch_size=1 << 20)
    for offset, (key, value, timestamp, _) in enumerate(MIXED[:5]):
        old.append(offset, timestamp, key, value)
    data = bytes(old.build())
    assert len(light(data)) == 5
    assert all_members(light(data)) == all_members(plain(data))


@pytest.mark.parametrize("codec", [NO_CODEC, ZSTD])
def test_what_is_cut_off_is_left_for_the_next_fetch(codec: int) -> None:
    whole = built(MIXED[:4], codec)
    for size in range(len(whole)):
        data = whole + whole[:size]
        batches = FetchedBatches(data)
        assert batches.size_in_bytes() == len(data)
        assert (batches.has_next(), FetchedBatches(whole[:size]).has_next()) == (True, False)
        assert len(light(data)) == 4


def test_batch_that_compaction_left_empty_is_passed_over() -> None:
    whole = built(MIXED[:4], NO_CODEC)
    checked = whole[21:61][:-4] + struct.pack(">i", 0)
    head = whole[:8] + struct.pack(">i", 49) + whole[12:17]
    empty = head + struct.pack(">I", calc_crc32c(checked)) + checked
    assert all_members(light(empty + at_offset(whole, 4))) == all_members(plain(empty + at_offset(whole, 4)))
    assert len(light(empty + at_offset(whole, 4))) == 4


@pytest.mark.parametrize("size", [-(1 << 31), -100, -13, -12, -1, 0, 5, 48])
def test_batch_that_is_too_small_to_be_one_is_told(size: int) -> None:
    whole = built(MIXED[:4])
    with pytest.raises(CorruptRecordException):
        light(whole[:8] + struct.pack(">i", size) + whole[12:])


def test_no_broken_byte_gets_past_the_checksum() -> None:
    whole = built(MIXED[:4])
    for at in range(17, len(whole)):
        broken = whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :]
        with pytest.raises(CorruptRecordException):
            light(broken)


@pytest.mark.parametrize("seed", range(4))
def test_broken_records_are_told_or_read_as_aiokafka_reads_them(seed: int) -> None:
    pick = random.Random(seed)
    whole = built(MIXED[18:])
    told = 0
    for _ in range(3_000):
        broken = bytearray(whole)
        for _ in range(pick.choice((1, 1, 2, 5))):
            broken[pick.randrange(57, len(broken))] = pick.choice((0, 1, 0x7F, 0x80, 0xFF, pick.randrange(256)))
        try:
            found = FetchedBatches(bytes(broken)).next_own().records(*AT)  # type: ignore[union-attr]
        except CorruptRecordException:
            told += 1
        else:
            expected = all_members(MemoryRecords(bytes(broken)).next_batch(), IN_A_BATCH)
            for record in expected:
                record[-1] = tuple(record[-1])
            assert all_members(found, IN_A_BATCH) == expected
    assert 200 < told < 400


COUNT = 4 * len(MIXED)
FOUR_BATCHES = b"".join(
    [
        built(MIXED),
        at_offset(built(MIXED), len(MIXED)),
        at_offset(built(MIXED, GZIP), 2 * len(MIXED)),
        at_offset(built(MIXED), 3 * len(MIXED)),
    ]
)


@pytest.mark.parametrize("at_once", [1, 5, 8, 17, 18, 40, 70, COUNT - FIRST, COUNT, None])
def test_records_are_handed_out_in_the_same_portions(at_once: int | None) -> None:
    expected = asyncio.run(portions(FetchResult, PartitionRecords, MemoryRecords, at_once))
    assert asyncio.run(portions(LightFetchResult, LightPartitionRecords, FetchedBatches, at_once)) == expected
    assert [offset for offsets, *_ in expected for offset in offsets] == list(range(FIRST, COUNT))


async def portions(
    result: type[FetchResult], records: type[PartitionRecords], batches: type, at_once: int | None
) -> list[tuple[list[int], int, bool]]:
    """Of each call the offsets that it hands out, the position behind them, and whether it says that there is more."""
    assignment = Assignment([AT])
    assignment.state_value(AT).seek(FIRST)
    unpacked = records(AT, batches(FOUR_BATCHES), [], FIRST, None, None, True, 0)
    fetched = result(AT, assignment=assignment, partition_records=unpacked, backoff=0)
    found = []
    while fetched.has_more():
        offsets = [record.offset for record in fetched.getall(at_once)]
        found.append((offsets, assignment.state_value(AT).position, fetched.has_more()))
    return found
