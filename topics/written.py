"""What was published, as its reader gets it."""

from collections.abc import Sequence
from typing import overload

from topics.lines import Lines
from topics.records import PlacedRecord, RawRecord, Record, Stretch


class Written(Sequence[RawRecord]):
    """Records that were published one behind the other, as a consumer would hand them out. Each is made when it is
    asked for, as most are never looked at."""

    def __init__(self, topic: str, partition: int, first_offset: int, records: Sequence[Record]) -> None:
        self.stretch = Stretch(topic, partition, first_offset, first_offset + len(records), len(records))
        self._records = records

    def values(self) -> list[bytes]:
        """The records' values, of a tombstone b""; of `Lines` one or several of them, by lines."""
        if isinstance(self._records, Lines):
            return [self._records.text]
        return [value or b"" for _, value, _, _ in self._records]

    def __len__(self) -> int:
        return self.stretch.records

    @overload
    def __getitem__(self, at: int) -> RawRecord: ...
    @overload
    def __getitem__(self, at: slice) -> list[RawRecord]: ...
    def __getitem__(self, at: int | slice) -> RawRecord | list[RawRecord]:
        if isinstance(at, slice):
            return [self[row] for row in range(len(self))[at]]
        row = range(len(self))[at]
        key, value, timestamp, headers = self._records[row]
        topic, partition, start, _, _ = self.stretch
        return PlacedRecord(topic, partition, start + row, timestamp, key, value, headers)
