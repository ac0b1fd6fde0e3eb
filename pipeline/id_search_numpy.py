"""The filter of a slice of ids, and the search behind it, in numpy: the oracle of `pipeline/id_search.pyx`, and what
stands for it where whipstitch was installed without a C compiler."""

import numpy as np
import numpy.typing as npt

from pipeline.receipts import U64, Receipts

_ROWS_AT_ONCE = 16_384  # what stays in the processor's cache is three times as fast
_PLACE_SHIFT = np.uint64(32)  # the upper half of `high` says which word
_BIT_SHIFTS = (0, 6, 12, 18, 24)  # five bits of one word stand for an id, so that a look costs one cache line


def add_to_filter(words: U64, receipts: Receipts) -> None:
    """Have the filter say "perhaps" of these ids."""
    for start in range(0, len(receipts), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        np.bitwise_or.at(words, _word_of(receipts.high[rows], len(words)), _bits(receipts.low[rows]))


def mark_repeated(words: U64, held: Receipts, asked: Receipts, window_ms: int, known: npt.NDArray[np.uint8]) -> None:
    """Set those of `known` to 1 whose id is among those held, received less than a window before, or later. `held` are
    in the order of `high`, and `words` the filter over them."""
    bits = _bits(asked.low)
    perhaps = ((words[_word_of(asked.high, len(words))] & bits) == bits).nonzero()[0]
    at = held.high.searchsorted(asked.high[perhaps])
    for row, first in zip(perhaps.tolist(), at.tolist(), strict=True):
        known[row] |= _repeats(held, first, *asked.row(row), window_ms)


def _repeats(held: Receipts, at: int, high: int, low: int, received_at_ms: int, window_ms: int) -> bool:
    while at < len(held) and held.high[at] == high:  # two ids may share this half
        if held.low[at] == low and received_at_ms - int(held.received_at_ms[at]) < window_ms:
            return True
        at += 1
    return False


def _word_of(high: U64, words: int) -> npt.NDArray[np.int64]:
    return ((high >> _PLACE_SHIFT) * np.uint64(words) >> _PLACE_SHIFT).view(np.int64)


def _bits(low: U64) -> U64:
    bits = np.zeros(len(low), np.uint64)
    for shift in _BIT_SHIFTS:
        bits |= np.left_shift(np.uint64(1), low >> shift & 63)
    return bits
