"""An immutable, sorted slice of the remembered ids, as columns.

What arrives: ids of 16 bytes, each with its receipt in Unix milliseconds. What leaves: whether a message repeats one of
them. An id takes 27 bytes: 24 in the columns, which may lie in a mapped file, and 3 in a filter, always in memory. The
filter takes a whole batch, at some 5 ns an id, and says "certainly not here" of 99.8 % of the ids that are new; what it
leaves is looked up. That an id was seen is told by its 128 bits alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Seconds: TypeAlias = Sequence[float] | npt.NDArray[np.float64]

_IDS_A_WORD = 3  # 21 bits an id
_ROWS_AT_ONCE = 16_384  # what stays in the processor's cache is three times as fast
_PLACE_SHIFT = np.uint64(32)  # the upper half of `high` says which word
_FARTHEST_S = 1 << 43  # what lies beyond is no instant, and in milliseconds could not be subtracted in 64 bits
_BIT_SHIFTS = (0, 6, 12, 18, 24)  # five bits of one word stand for an id, so that a look costs one cache line


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


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What is looked for in every slice, with what they all need of it worked out once."""

    receipts: Receipts
    places: U64
    bits: U64
    window_ms: int

    @classmethod
    def of(cls, receipts: Receipts, window_ms: int) -> Self:
        return cls(receipts, receipts.high >> _PLACE_SHIFT, _bits(receipts.low), window_ms)


@dataclass(frozen=True, slots=True, eq=False)
class IdSlice:
    """Receipts in the order of `high`. An id may be there several times. `file` names the file that holds them."""

    receipts: Receipts
    newest_ms: int
    words: U64
    file: str | None = None

    @classmethod
    def of(cls, *parts: Receipts) -> Self:
        """One slice of all the parts, in whatever order their rows are; cheaper where each is sorted already."""
        receipts = Receipts.joined(parts).in_order()
        return cls(receipts, int(receipts.received_at_ms.max()), filter_words(receipts))

    def __len__(self) -> int:
        return len(self.receipts)

    def repeated(self, batch: Batch) -> list[int]:
        """The rows of the batch whose id is here, received less than a window before, or later."""
        words = self.words[_word_of(batch.places, len(self.words))]
        perhaps = ((words & batch.bits) == batch.bits).nonzero()[0]
        if not perhaps.size:
            return []
        high = batch.receipts.high[perhaps]
        at = self.receipts.high.searchsorted(high)
        found = self.receipts.high.take(at, mode="clip") == high
        rows = zip(perhaps[found].tolist(), at[found].tolist(), strict=True)
        return [row for row, first in rows if self._repeats(batch, row, first)]

    def _repeats(self, batch: Batch, row: int, at: int) -> bool:
        asked, held = batch.receipts, self.receipts
        while at < len(held) and held.high[at] == asked.high[row]:  # two ids may share this half
            age_ms = asked.received_at_ms[row] - held.received_at_ms[at]
            if held.low[at] == asked.low[row] and age_ms < batch.window_ms:
                return True
            at += 1
        return False


def milliseconds(received_at: Seconds) -> I64:
    """Of Unix seconds."""
    return np.rint(np.clip(np.array(received_at, np.float64), -_FARTHEST_S, _FARTHEST_S) * 1000).astype(np.int64)


def filter_words(receipts: Receipts) -> U64:
    """The filter over these ids: of another id it says "perhaps" once in 500 times."""
    words = np.zeros(len(receipts) // _IDS_A_WORD + 1, np.uint64)
    for start in range(0, len(receipts), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        places = receipts.high[rows] >> _PLACE_SHIFT
        np.bitwise_or.at(words, _word_of(places, len(words)), _bits(receipts.low[rows]))
    return words


def _word_of(places: U64, words: int) -> npt.NDArray[np.int64]:
    return (places * np.uint64(words) >> _PLACE_SHIFT).view(np.int64)


def _bits(low: U64) -> U64:
    bits = np.zeros(len(low), np.uint64)
    for shift in _BIT_SHIFTS:
        bits |= np.left_shift(np.uint64(1), low >> shift & 63)
    return bits
