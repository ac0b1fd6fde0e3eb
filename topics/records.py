"""Records as they are read from a topic and as they are written to one."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, Self, TypeVar

UNREADABLE: Final = (ValueError, RecursionError)
"""What decoding bytes as JSON raises that are none, or not what was expected, or nested too deep."""

Headers = tuple[tuple[str, bytes], ...]

Record = tuple[bytes | None, bytes | None, int, Headers]
"""A record to publish: key, value, timestamp in Unix milliseconds, headers."""

Output = tuple[str, int, Sequence[Record]]
"""Records to publish: to which topic and partition."""


class RawRecord(Protocol):
    """A record as a consumer hands it out; `timestamp` is Unix milliseconds."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


Ordered = TypeVar("Ordered", bound=RawRecord)


def from_offset(offset: int, records: list[Ordered]) -> list[Ordered]:
    """Those of a partition that are not before an offset; mostly all."""
    if not records or records[0].offset >= offset:
        return records
    return [record for record in records if record.offset >= offset]


class Stretch(NamedTuple):
    """Where records lie that follow each other in a partition: from `start` on and before `end`."""

    topic: str
    partition: int
    start: int
    end: int
    records: int

    @classmethod
    def of(cls, records: Sequence[RawRecord]) -> Self:
        """Of one at least."""
        first, last = records[0], records[-1]
        return cls(first.topic, first.partition, first.offset, last.offset + 1, len(records))


class PlacedRecord(NamedTuple):
    """A record at its place in a topic, as a consumer would hand it out."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
