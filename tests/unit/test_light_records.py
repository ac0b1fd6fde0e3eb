"""Light records say what aiokafka's own say."""

from dataclasses import fields

from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord, TopicPartition

from bench import load
from broker.light_records import LightPartitionRecords, LightRecord

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
