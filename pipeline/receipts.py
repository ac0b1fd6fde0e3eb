"""What was received, as far as it takes to tell whether it comes again: ids of 16 bytes, and when each came."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Seconds: TypeAlias = Sequence[float] | npt.NDArray[np.float64]

_FARTHEST_S = 1 << 43  # what lies beyond is no instant, and in milliseconds could not be subtracted in 64 bits


@dataclass(frozen=True, slots=True, eq=False)
class Receipts:
    """Ids, each as its two halves, and when each was received: three columns of one length."""

    high: U64
    low: U64
    received_at_ms: I64

    @classmethod
    def of(cls, ids: Sequence[bytes], received_at: Seconds) -> Self:
        """Of ids of 16 bytes each, also where several are in one piece, and Unix seconds."""
        made = cls.blank(len(received_at))
        made.fill_in(slice(None), ids, milliseconds(received_at))
        return made

    @classmethod
    def blank(cls, count: int) -> Self:
        return cls(np.zeros(count, np.uint64), np.zeros(count, np.uint64), np.zeros(count, np.int64))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, one after the other; of one part at least."""
        return cls(
            np.concatenate([part.high for part in parts]),
            np.concatenate([part.low for part in parts]),
            np.concatenate([part.received_at_ms for part in parts]),
        )

    def fill_in(self, rows: Sequence[int] | slice, ids: Sequence[bytes], received_at_ms: Sequence[int] | I64) -> None:
        self.high[rows], self.low[rows] = np.frombuffer(b"".join(ids), ">u8").reshape(-1, 2).T
        self.received_at_ms[rows] = received_at_ms

    def where(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Self:
        """The rows that a mask, or their numbers, choose."""
        return type(self)(self.high[chosen], self.low[chosen], self.received_at_ms[chosen])

    def in_order(self) -> Self:
        """By `high`; cheap where much is in order already."""
        if (self.high[:-1] <= self.high[1:]).all():
            return self
        return self.where(np.argsort(self.high, kind="stable"))

    def row(self, at: int) -> tuple[int, int, int]:
        """As a row, in numbers of Python's."""
        return int(self.high[at]), int(self.low[at]), int(self.received_at_ms[at])

    def ids(self) -> bytes:
        """The ids one after the other, 16 bytes each."""
        return np.stack([self.high, self.low], axis=1).astype(">u8").tobytes()

    def __len__(self) -> int:
        return len(self.high)

    def __eq__(self, other: object) -> bool:
        """Whether the rows are the same, in whatever order."""
        if not isinstance(other, Receipts):
            return NotImplemented
        return sorted(map(self.row, range(len(self)))) == sorted(map(other.row, range(len(other))))


def milliseconds(received_at: Seconds) -> I64:
    """Of Unix seconds."""
    return np.rint(np.clip(np.array(received_at, np.float64), -_FARTHEST_S, _FARTHEST_S) * 1000).astype(np.int64)
