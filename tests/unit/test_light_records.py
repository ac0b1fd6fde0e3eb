"""Light records say what aiokafka's own say."""

import asyncio
from dataclasses import fields

import pytest
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord, TopicPartition

from bench import load
from broker.light_records import LightFetchResult, LightPartitionRecords, LightRecord

AT = TopicPartition("events.raw", 3)
FIRST = 7


def batch() -> bytes:
    """A record batch as Kafka keeps it: with a key and without, with a value and without, with headers and without."""
    builder = DefaultRecordBatchBuilder(
        2, 0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=1 << 20
    )
    given = [record for _, record in load.records(20, 1)]
    given += [(None, b"v", 5, ()), (b"k", None, 6, ()), (b"", b"", 7, (("name", b""), ("name", b"twice")))]
    for offset, (key, value, timestamp, headers) in enumerate(given):
        builder.append(offset, timestamp=timestamp, key=key, value=value, headers=[*headers])
    return bytes(builder.build())


def read(kind: type[PartitionRecords]) -> list[object]:
    return list(kind(AT, MemoryRecords(batch()), [], FIRST, None, None, True, 0))


def test_each_field_of_each_record_is_that_of_aiokafkas_own() -> None:
    plain, light = read(PartitionRecords), read(LightPartitionRecords)
    assert len(plain) == len(light) == 23 - FIRST
    for one, other in zip(plain, light, strict=True):
        assert isinstance(one, ConsumerRecord)
        assert isinstance(other, LightRecord)
        for field in fields(one):
            assert getattr(other, field.name) == getattr(one, field.name), field.name


@pytest.mark.parametrize("at_once", [1, 5, 8, 16, 17, None])
def test_records_are_handed_out_in_the_same_portions(at_once: int | None) -> None:
    plain = asyncio.run(portions(FetchResult, PartitionRecords, at_once))
    assert asyncio.run(portions(LightFetchResult, LightPartitionRecords, at_once)) == plain
    assert [offset for offsets, *_ in plain for offset in offsets] == list(range(FIRST, 23))


async def portions(
    result: type[FetchResult], records: type[PartitionRecords], at_once: int | None
) -> list[tuple[list[int], int, bool]]:
    """Of each call the offsets that it hands out, the position behind them, and whether it says that there is more."""
    assignment = Assignment([AT])
    assignment.state_value(AT).seek(FIRST)
    unpacked = records(AT, MemoryRecords(batch()), [], FIRST, None, None, True, 0)
    fetched = result(AT, assignment=assignment, partition_records=unpacked, backoff=0)
    found = []
    while fetched.has_more():
        offsets = [record.offset for record in fetched.getall(at_once)]
        found.append((offsets, assignment.state_value(AT).position, fetched.has_more()))
    return found
