# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The filter of a slice of ids, and the search behind it. It has the processor fetch ahead, as a filter of millions of
ids is in no cache."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:
    AHEAD = 8  # rows

cdef extern from *:
    void fetch "__builtin_prefetch"(const void* address) noexcept nogil


def add_to_filter(uint64_t[::1] words, receipts):
    cdef const uint64_t[::1] high = receipts.high, low = receipts.low
    cdef Py_ssize_t row
    for row in range(high.shape[0]):
        words[_word_of(high[row], words.shape[0])] |= _bits(low[row])


def mark_repeated(const uint64_t[::1] words, held, asked, int64_t window_ms, uint8_t[::1] known):
    cdef const uint64_t[::1] high = asked.high, low = asked.low, held_high = held.high, held_low = held.low
    cdef const int64_t[::1] received_at_ms = asked.received_at_ms, held_received_at_ms = held.received_at_ms
    cdef Py_ssize_t row, at, rows = high.shape[0]
    cdef uint64_t bits
    for row in range(rows):
        if row + AHEAD < rows:
            fetch(&words[_word_of(high[row + AHEAD], words.shape[0])])
        bits = _bits(low[row])
        if words[_word_of(high[row], words.shape[0])] & bits != bits:
            continue
        at = _first_from(held_high, high[row])
        while at < held_high.shape[0] and held_high[at] == high[row]:  # two ids may share this half
            if held_low[at] == low[row] and received_at_ms[row] - held_received_at_ms[at] < window_ms:
                known[row] = True
            at += 1


cdef Py_ssize_t _word_of(uint64_t high, Py_ssize_t words) noexcept nogil:
    return (high >> 32) * <uint64_t>words >> 32


cdef uint64_t _bits(uint64_t low) noexcept nogil:
    """Five bits of one word, so that a look costs one cache line."""
    cdef uint64_t one = 1
    return one << (low & 63) | one << (low >> 6 & 63) | one << (low >> 12 & 63) | one << (low >> 18 & 63) | one << (low >> 24 & 63)


cdef Py_ssize_t _first_from(const uint64_t[::1] ordered, uint64_t wanted) noexcept nogil:
    """Where the first is that is not less; behind the last where all are."""
    cdef Py_ssize_t start = 0, end = ordered.shape[0], middle
    while start < end:
        middle = start + (end - start >> 1)
        if ordered[middle] < wanted:
            start = middle + 1
        else:
            end = middle
    return start
