"""Where a replay's records come from: `events.raw`, from one offset to another, or the files of an export.

A source hands out the records of some partitions, in order within each, from where each is next.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from broker.scan import scanner
from pipeline.settings import Settings
from replay.errors import Refused
from replay.export_line import read_lines
from replay.state import Replay
from topics.keys import partition_of
from topics.names import RAW
from topics.records import PlacedRecord, RawRecord

FILE_PARTITIONS = 16
"""Into how many the records of files are parted, by their keys as Kafka would."""

_LINES_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition; `next` is the position behind them."""

    partition: int
    records: Sequence[RawRecord]
    next: int


class Source(Protocol):
    def read(self, positions: Mapping[int, int], ends: Mapping[int, int]) -> AsyncGenerator[Batch, None]:
        """The records of these partitions from their positions on and before their ends."""


def source_of(settings: Settings, replay: Replay) -> Source:
    return Files([*map(Path, replay.sources)]) if replay.sources else Topic(settings)


class Topic:
    """`events.raw`. Raises BrokerError, and Refused where retention has taken records that were still to be read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def read(self, positions: Mapping[int, int], ends: Mapping[int, int]) -> AsyncGenerator[Batch, None]:
        next_ = dict(positions)
        async with scanner(self._settings) as scan:
            async for records in scan.read(RAW, positions, ends):
                if not records:
                    continue
                partition, first = records[0].partition, records[0].offset
                if first > next_[partition]:
                    raise Refused(
                        f"{RAW} no longer holds offset {next_[partition]} of partition {partition}: its retention has "
                        "overtaken the replay; end it with `whipstitch replay abort`, and begin with a later --from"
                    )
                next_[partition] = records[-1].offset + 1
                yield Batch(partition, records, next_[partition])


class Files:
    """Files of an export, one after the other. A position is a number of lines. Raises Refused where one cannot be
    read."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    async def read(self, positions: Mapping[int, int], ends: Mapping[int, int]) -> AsyncGenerator[Batch, None]:
        for line, records in self._pieces():
            parted: dict[int, list[RawRecord]] = {partition: [] for partition in positions}
            for at, record in enumerate(records, line):
                partition = partition_of_key(record)
                if partition in parted and at >= positions[partition]:
                    parted[partition].append(record)
            behind = line + len(records)
            for partition, found in parted.items():
                if behind > positions[partition]:
                    yield Batch(partition, found, behind)

    def _pieces(self) -> Iterator[tuple[int, list[PlacedRecord]]]:
        """So many records at once, each with the number of the first one's line."""
        line, piece = 0, list[PlacedRecord]()
        for record in read_lines(self._paths):
            piece.append(record)
            if len(piece) == _LINES_AT_ONCE:
                yield line, piece
                line, piece = line + len(piece), []
        yield line, piece


def partition_of_key(record: RawRecord) -> int:
    return partition_of(record.key or b"", FILE_PARTITIONS)
