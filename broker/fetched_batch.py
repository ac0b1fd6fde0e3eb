"""Record batches as they come from Kafka, read at a third of aiokafka's cost.

aiokafka makes three objects of each record, one of them a frozen dataclass, which Python fills field by field. In
processes that read record batches by the thousand, `broker.batch_process` has consumers read those that whipstitch's
own producers write in one pass (`broker/record_codec.pyx`). Any other batch, of an old format, a transaction or a
codec of somebody else's, is left to aiokafka, which is also what says how the rest is read.
"""

import struct
import sys
from collections.abc import Sequence
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

    def __init__(self, data: memoryview) -> None:
        self._data = data
        header = _HEADER.unpack_from(data)
        self._first_offset, self._crc, self._attributes, last_offset = header[0], header[4], header[5], header[6]
        self._first_timestamp, self._max_timestamp, self._count = header[7], header[8], header[12]
        self.next_offset = self._first_offset + last_offset + 1

    def check(self) -> None:
        """Raises CorruptRecordException where the checksum is another."""
        if calc_crc32c(self._data[_CHECKED_FROM:]) != self._crc:
            raise CorruptRecordException(f"the checksum of the batch at offset {self._first_offset} is wrong")

    def records(self, topic: str, partition: int) -> list[LightRecord]:
        """All of them, which are said to be of this place. Raises CorruptRecordException where they cannot be read."""
        body: Any = self._data[_HEADER.size :]
        appended_at = self._max_timestamp if self._attributes & _APPEND_TIME else -1
        try:
            if self._attributes & ~_APPEND_TIME == ZSTD:
                body = cramjam.zstd.decompress(body)
            first = self._first_offset, self._first_timestamp
            return decode_records(body, self._count, topic, partition, *first, appended_at)
        except (ValueError, cramjam.DecompressionError) as error:
            raise CorruptRecordException(f"the batch at offset {self._first_offset}: {error}") from error


class FetchedBatches:
    """What one fetch has of a partition, in place of aiokafka's `MemoryRecords`. The last batch may be cut off."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def size_in_bytes(self) -> int:
        return len(self._data)

    def has_next(self) -> bool:
        return self._end() <= len(self._data)

    def next_batch(self) -> Any:
        """The next batch as aiokafka has it; None behind the last."""
        return MemoryRecords(bytes(self._next())).next_batch() if self.has_next() else None

    def next_own(self) -> FetchedBatch | None:
        """The next batch, if there is one and it is of whipstitch's own."""
        data = self._data[self._at : self._end()]
        if not self.has_next() or len(data) < _HEADER.size or data[_MAGIC_AT] != _MAGIC:
            return None
        if data[_ATTRIBUTES_AT] & ~_APPEND_TIME not in (NO_CODEC, ZSTD):
            return None
        return FetchedBatch(self._next())

    def _next(self) -> memoryview:
        start, self._at = self._at, self._end()
        return self._data[start : self._at]

    def _end(self) -> int:
        if len(self._data) - self._at < _LENGTH.size:
            return len(self._data) + 1
        _, size = _LENGTH.unpack_from(self._data, self._at)
        return self._at + _LENGTH.size + int(size)


class LightPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """From the first batch on that is not of whipstitch's own, a fetch is read by aiokafka."""

    _ready: Sequence[LightRecord] = ()
    _offset_behind_ready = 0
    _is_left_to_aiokafka = False

    def __next__(self) -> Any:
        for record in self.take(1):
            return record
        raise StopIteration

    def take(self, most: int | None) -> list[Any]:
        """The next so many records, or as many as there are."""
        most = sys.maxsize if most is None else most
        taken: list[Any] = []
        while len(taken) < most and (self._ready or self._read_own()):
            part = self._ready[: most - len(taken)]
            self._ready = self._ready[len(part) :]
            self.next_fetch_offset = part[-1].offset + 1 if self._ready else self._offset_behind_ready
            taken += part
        if len(taken) < most:
            self._is_left_to_aiokafka = True
            taken += islice(self._records_iterator, most - len(taken))
        return taken

    def _read_own(self) -> bool:
        """Whether there are records of a further batch of whipstitch's own. They may be none of those asked for."""
        while not self._is_left_to_aiokafka and (batch := self._records.next_own()) is not None:
            if self._check_crcs:
                batch.check()
            records = batch.records(*self._tp)
            self._ready = [record for record in records if record.offset >= self.next_fetch_offset]
            self._offset_behind_ready = batch.next_offset
            if self._ready:
                return True
            self.next_fetch_offset = batch.next_offset
        return False


class LightFetchResult(fetcher.FetchResult):  # type: ignore[misc]
    def getall(self, max_records: int | None = None) -> list[Any]:
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        records: list[Any] = self._partition_records.take(max_records)  # type: ignore[has-type]
        self._update_position()
        if len(records) != max_records:
            self._partition_records = None
        return records
