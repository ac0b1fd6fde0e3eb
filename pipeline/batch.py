"""Gathers rows for one insert: full by rows, by bytes or by age. It reads no clock and does no I/O."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from topics.records import RawRecord, Stretch
from topics.written import Written


@dataclass(frozen=True, slots=True)
class BatchLimits:
    max_rows: int
    max_bytes: int
    max_wait_s: float


@dataclass(slots=True)
class SinkBatch:
    """Rows for one table, in a block for each poll, separated by line breaks; where the records lie that they were made
    of; and what to call when they are stored: an acknowledgement for each batch taken in.

    The records themselves are let go: as hundred thousands of objects they would fill the processor's caches, and Kafka
    has them.
    """

    blocks: list[bytes] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    acknowledge: list[Callable[[], None]] = field(default_factory=list)
    rows: int = 0  # or as many as there are records, where some have none
    size: int = 0
    since_s: float = 0.0

    def append(
        self, records: Sequence[RawRecord], rows: Sequence[bytes], acknowledge: Callable[[], None], now_s: float
    ) -> None:
        if not self.stretches:
            self.since_s = now_s
        self.stretches.append(records.stretch if isinstance(records, Written) else Stretch.of(records))
        self.acknowledge.append(acknowledge)
        if rows:
            self.blocks.append(b"\n".join(rows))
            self.rows += len(records)
            self.size += len(self.blocks[-1])

    def is_full(self, limits: BatchLimits) -> bool:
        return self.rows >= limits.max_rows or self.size >= limits.max_bytes

    def due_in_s(self, limits: BatchLimits, now_s: float) -> float:
        """Seconds until it is to be inserted; 0 when that is now. Of no meaning while it is empty."""
        if self.is_full(limits):
            return 0.0
        return max(0.0, self.since_s + limits.max_wait_s - now_s)

    def insert_token(self) -> str:
        """The same for the same records: what lets the store recognise a retried insert. Of no meaning while it is
        empty."""
        first, last = self.stretches[0], self.stretches[-1]
        count = sum(stretch.records for stretch in self.stretches)
        return f"{first.topic}/{count}:{first.partition}.{first.start}-{last.partition}.{last.end - 1}"
