"""Record batches as they come from Kafka, read at a third of aiokafka's cost.

aiokafka makes three objects of each record, one of them a frozen dataclass, which Python fills field by field. In
processes that read record batches by the thousand, `broker.batch_process` has consumers read those that whipstitch's
own producers write in one pass (`broker/record_codec.pyx`). Any other batch, of an old format, a transaction or a
codec of somebody else's, is left to aiokafka, which is also what says how the rest is read.
"""

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from broker.encoded_batch import NO_CODEC, ZSTD
from broker.record_codec import LightRecord, decode_records

_LENGTH: Final = struct.Struct(">qi")  # what is in front of every batch: its first offset, and the size of the rest
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")  # as in `DefaultRecordBase.HEADER_STRUCT`
_CHECKED_FROM: Final = 21  # the checksum is of all that is behind it
_MAGIC_AT: Final = 16
_ATTRIBUTES_AT: Final = 22  # the lower of two bytes
_MAGIC: Final = 2
_APPEND_TIME: Final = 0x08


class FetchedBatch:
    """A batch of whipstitch's own: of the newest format, in no transaction, compressed with zstd or not at all."""

    is_control_batch = False
    is_transactional = False

    def __init__(self, data: memoryview, topic: str, partition: int) -> None:
        self._data, self._topic, self._partition = data, topic, partition
        header = _HEADER.unpack_from(data)
        self.base_offset, self._crc, self._attributes, last_offset = header[0], header[4], header[5], header[6]
        self._first_timestamp, self._max_timestamp, self.producer_id = header[7], header[8], header[9]
        self._count = header[12]
        self.next_offset = self.base_offset + last_offset + 1

    def validate_crc(self) -> bool:
        return bool(calc_crc32c(self._data[_CHECKED_FROM:]) == self._crc)

    def __iter__(self) -> Iterator[LightRecord]:
        body: Any = self._data[_HEADER.size :]
        appended_at = self._max_timestamp if self._attributes & _APPEND_TIME else -1
        try:
            if self._attributes & ~_APPEND_TIME == ZSTD:
                body = cramjam.zstd.decompress(body)
            first = self.base_offset, self._first_timestamp
            return iter(decode_records(body, self._count, self._topic, self._partition, *first, appended_at))
        except (ValueError, cramjam.DecompressionError) as error:
            raise CorruptRecordException(f"{self._topic}, partition {self._partition}: {error}") from error


class FetchedBatches:
    """What one fetch has of a partition, in place of aiokafka's `MemoryRecords`. The last batch may be cut off."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0
        self.topic, self.partition = "", -1

    def size_in_bytes(self) -> int:
        return len(self._data)

    def has_next(self) -> bool:
        return self._end() <= len(self._data)

    def next_batch(self) -> Any:
        """A `FetchedBatch`, or a batch of aiokafka's; None behind the last."""
        if not self.has_next():
            return None
        data = self._data[self._at : self._end()]
        self._at += len(data)
        if len(data) < _HEADER.size or data[_MAGIC_AT] != _MAGIC:
            return MemoryRecords(bytes(data)).next_batch()
        if data[_ATTRIBUTES_AT] & ~_APPEND_TIME not in (NO_CODEC, ZSTD):
            return MemoryRecords(bytes(data)).next_batch()
        return FetchedBatch(data, self.topic, self.partition)

    def _end(self) -> int:
        if len(self._data) - self._at < _LENGTH.size:
            return len(self._data) + 1
        _, size = _LENGTH.unpack_from(self._data, self._at)
        return self._at + _LENGTH.size + int(size)


class LightPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self, tp: Any, records: FetchedBatches, *rest: Any) -> None:
        records.topic, records.partition = tp
        super().__init__(tp, records, *rest)

    def __iter__(self) -> Iterator[Any]:
        records: Iterator[Any] = self._records_iterator
        return records

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record if isinstance(record, LightRecord) else super()._consumer_record(tp, record)


class LightFetchResult(fetcher.FetchResult):  # type: ignore[misc]
    def getall(self, max_records: int | None = None) -> list[Any]:
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        records = list(islice(self._partition_records, max_records))  # type: ignore[has-type]
        self._update_position()
        if len(records) != max_records:
            self._partition_records = None
        return records
