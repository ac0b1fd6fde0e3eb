"""Which records a replay is about: those that an ingress received in its range, of its project or of all."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

from replay.state import Replay
from topics.orders import Correct, order_of
from topics.raw import read_stamp
from topics.records import UNREADABLE, RawRecord


class Where(Enum):
    """Where a record stands to a replay."""

    WITHIN = auto()  # decided, and written
    BEYOND = auto()  # of another time: decided, as live did between the others, and not written
    ELSEWHERE = auto()  # of another project, or of another replay


@dataclass(frozen=True, slots=True)
class Scope:
    """From `from_ms` on and before `to_ms`, Unix milliseconds; `project_id` None is all projects."""

    from_ms: int
    to_ms: int
    project_id: str | None = None

    @classmethod
    def of(cls, replay: Replay) -> Self:
        return cls(replay.from_ms, replay.to_ms, replay.project_id)

    def where(self, record: RawRecord) -> Where:
        """By the stamp; what has none goes by its own time, and but for an order is of no project. What an earlier
        replay corrected says nothing to this one."""
        try:
            stamp = read_stamp(record.headers)
        except UNREADABLE:
            order = order_of(record)
            if isinstance(order, Correct):
                return Where.ELSEWHERE
            return self._where(record.timestamp, order.project_id if order else None)
        return self._where(stamp.received_at_ms, stamp.project_id)

    def _where(self, at_ms: int, project_id: str | None) -> Where:
        if self.project_id is not None and self.project_id != project_id:
            return Where.ELSEWHERE
        return Where.WITHIN if self.from_ms <= at_ms < self.to_ms else Where.BEYOND
