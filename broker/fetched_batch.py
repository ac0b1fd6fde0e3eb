"""Record batches as they come from Kafka, read in a quarter of aiokafka's instructions.

aiokafka makes three objects of each record, one of them a frozen dataclass, which Python fills field by field. In
processes that read record batches by the thousand, `broker.batch_process` has consumers read those that whipstitch's
own producers write in one pass (`broker/record_codec.pyx`). Any other batch, of an old format, a transaction or a
codec of somebody else's, is left to aiokafka, which is also what says how the rest is read.
"""

import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from broker import batch_header as header
from broker.batch_header import APPEND_TIME, NO_CODEC, ZSTD
from broker.record_codec import LightRecord, decode_records
from topics.records import from_offset


class FetchedBatch:
    """A batch of whipstitch's own: of the newest format, in no transaction, compressed with zstd or not at all."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._first_offset, _, _, _, self._crc = header.UNCHECKED.unpack_from(data)
        checked = header.CHECKED.unpack_from(data, header.UNCHECKED.size)
        self._attributes, last_offset, self._first_timestamp, self._latest_timestamp, _, _, _, self._count = checked
        self.next_offset = self._first_offset + last_offset + 1

    def check(self) -> None:
        """Raises CorruptRecordException where the checksum is another."""
        if calc_crc32c(self._data[header.UNCHECKED.size :]) != self._crc:
            raise CorruptRecordException(f"the checksum of the batch at offset {self._first_offset} is wrong")

    def records(self, topic: str, partition: int) -> list[LightRecord]:
        """All of them, which are said to be of this place. Raises CorruptRecordException where they cannot be read."""
        body: Any = self._data[header.SIZE :]
        appended_at = self._latest_timestamp if self._attributes & APPEND_TIME else -1
        try:
            if self._attributes & ~APPEND_TIME == ZSTD:
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
        if not self.has_next():
            return None
        data = self._data[self._at : self._end()]
        if len(data) < header.SIZE or data[header.MAGIC_AT] != header.NEWEST_MAGIC:
            return None
        if data[header.UNCHECKED.size + 1] & ~APPEND_TIME not in (NO_CODEC, ZSTD):
            return None
        return FetchedBatch(self._next())

    def _next(self) -> memoryview:
        start, self._at = self._at, self._end()
        return self._data[start : self._at]

    def _end(self) -> int:
        if len(self._data) - self._at < header.LENGTH.size:
            return len(self._data) + 1
        _, size = header.LENGTH.unpack_from(self._data, self._at)
        return self._at + header.LENGTH.size + max(0, int(size))


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
            self._ready = from_offset(self.next_fetch_offset, records)
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
