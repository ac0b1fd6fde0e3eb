"""An immutable, sorted slice of the remembered ids, as columns.

What arrives: ids of 16 bytes, each with its receipt in Unix milliseconds. What leaves: which messages repeat one of
them. An id takes 27 bytes: 24 in the columns, which may lie in a mapped file, and 3 in a filter, always in memory. The
filter says "certainly not here" of 99.8 % of the ids that are new; what it leaves is looked up. That an id was seen is
told by its 128 bits alone.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.receipts import U64, Receipts

try:
    from pipeline.id_search import add_to_filter as add_to_filter
    from pipeline.id_search import mark_repeated as mark_repeated
except ImportError:  # whipstitch was installed where there is no C compiler
    from pipeline.id_search_numpy import add_to_filter as add_to_filter
    from pipeline.id_search_numpy import mark_repeated as mark_repeated

_IDS_A_WORD = 3  # 21 bits an id


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

    def mark(self, asked: Receipts, window_ms: int, known: npt.NDArray[np.uint8]) -> None:
        """Set those of `known` to 1 whose id is here, received less than a window before, or later."""
        mark_repeated(self.words, self.receipts, asked, window_ms, known)


def filter_words(receipts: Receipts) -> U64:
    """The filter over these ids: of another id it says "perhaps" once in 500 times."""
    words = np.zeros(len(receipts) // _IDS_A_WORD + 1, np.uint64)
    add_to_filter(words, receipts)
    return words
