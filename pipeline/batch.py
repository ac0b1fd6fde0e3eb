"""Gathers rows for one insert: full by rows, by bytes or by age. It reads no clock and does no I/O."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from topics.records import RawRecord


@dataclass(frozen=True, slots=True)
class BatchLimits:
    max_rows: int
    max_bytes: int
    max_wait_s: float


@dataclass(slots=True)
class SinkBatch:
    """Rows for one table; the records that they were made of, poll by poll; and what to call when they are stored: an
    acknowledgement for each batch taken in."""

    rows: list[bytes] = field(default_factory=list)
    polls: list[Sequence[RawRecord]] = field(default_factory=list)
    acknowledge: list[Callable[[], None]] = field(default_factory=list)
    size: int = 0
    since_s: float = 0.0

    def append(
        self, records: Sequence[RawRecord], rows: Sequence[bytes], acknowledge: Callable[[], None], now_s: float
    ) -> None:
        if not self.polls:
            self.since_s = now_s
        self.rows.extend(rows)
        self.polls.append(records)
        self.acknowledge.append(acknowledge)
        self.size += sum(map(len, rows))

    def is_full(self, limits: BatchLimits) -> bool:
        return len(self.rows) >= limits.max_rows or self.size >= limits.max_bytes

    def due_in_s(self, limits: BatchLimits, now_s: float) -> float:
        """Seconds until it is to be inserted; 0 when that is now. Of no meaning while it is empty."""
        if self.is_full(limits):
            return 0.0
        return max(0.0, self.since_s + limits.max_wait_s - now_s)

    def insert_token(self) -> str:
        """The same for the same records: what lets the store recognise a retried insert. Of no meaning while it is
        empty."""
        first, last = self.polls[0][0], self.polls[-1][-1]
        count = sum(map(len, self.polls))
        return f"{first.topic}/{count}:{first.partition}.{first.offset}-{last.partition}.{last.offset}"
