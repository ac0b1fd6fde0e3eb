# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The newest of the ids that were seen: a table in one piece of memory, where an id has its place by its own bits."""

import numpy as np

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport INT64_MIN as FREE, int64_t, uint8_t, uint64_t

from pipeline.receipts import Receipts

cdef enum:
    LEAST_BITS = 6
    AHEAD = 8  # rows

cdef struct Slot:
    int64_t received_at_ms  # `FREE` where the slot is
    uint64_t high, low

cdef extern from *:
    void fetch "__builtin_prefetch"(const void* address) noexcept nogil


@cython.final
cdef class IdTable:
    cdef Slot* _slots
    cdef int _bits  # there are 2 to this power
    cdef Py_ssize_t _used

    def __cinit__(self, Py_ssize_t room=0):
        self._bits = LEAST_BITS
        while self._is_too_small_for(room):
            self._bits += 1
        self._slots = _free_slots(self._bits)

    def __dealloc__(self):
        PyMem_Free(self._slots)

    def __len__(self):
        return self._used

    def mark(self, receipts, int64_t window_ms, uint8_t[::1] known):
        cdef const uint64_t[::1] high = receipts.high, low = receipts.low
        cdef const int64_t[::1] received_at_ms = receipts.received_at_ms
        cdef Py_ssize_t row
        cdef Slot* slot
        if not self._used:
            return
        for row in range(high.shape[0]):
            if row + AHEAD < high.shape[0]:
                self.fetch_ahead(high[row + AHEAD])
            slot = self._slot(high[row], low[row])
            if slot.received_at_ms != FREE and received_at_ms[row] - slot.received_at_ms < window_ms:
                known[row] = True

    def claim_all(self, receipts, int64_t window_ms):
        cdef const uint64_t[::1] high = receipts.high, low = receipts.low
        cdef const int64_t[::1] received_at_ms = receipts.received_at_ms
        cdef Py_ssize_t row
        while self._is_too_small_for(self._used + high.shape[0]):  # first: ids in order would crowd a small table
            self._grow()
        for row in range(high.shape[0]):
            if row + AHEAD < high.shape[0]:
                self.fetch_ahead(high[row + AHEAD])
            self.claim(high[row], low[row], received_at_ms[row], window_ms)

    def receipts(self):
        all_of = np.empty(self._used, np.uint64), np.empty(self._used, np.uint64), np.empty(self._used, np.int64)
        cdef uint64_t[::1] high = all_of[0], low = all_of[1]
        cdef int64_t[::1] received_at_ms = all_of[2]
        cdef Py_ssize_t at, row, rows = 0, count = 1 << self._bits, first_free = 0
        cdef Slot* slot
        while self._slots[first_free].received_at_ms != FREE:
            first_free += 1
        for at in range(count + first_free):
            # Those before the first that is free may have had no room at the end, where they belong: they are last.
            slot = &self._slots[at & count - 1]
            if slot.received_at_ms == FREE or (at < first_free and self._place(slot.high) > first_free):
                continue
            if at >= count and self._place(slot.high) < first_free:
                continue
            row = rows
            while row and high[row - 1] > slot.high:
                high[row], low[row], received_at_ms[row] = high[row - 1], low[row - 1], received_at_ms[row - 1]
                row -= 1
            high[row], low[row], received_at_ms[row] = slot.high, slot.low, slot.received_at_ms
            rows += 1
        return Receipts(*all_of)

    cpdef bint claim(self, uint64_t high, uint64_t low, int64_t received_at_ms, int64_t window_ms) except -1:
        cdef Slot* slot = self._slot(high, low)
        if slot.received_at_ms != FREE:
            if received_at_ms - slot.received_at_ms < window_ms:
                return False
        else:
            self._used += 1
            if self._is_too_small_for(self._used):
                self._grow()
                slot = self._slot(high, low)
        slot.high, slot.low, slot.received_at_ms = high, low, received_at_ms
        return True

    cdef Py_ssize_t _place(self, uint64_t high) noexcept nogil:
        return high >> (64 - self._bits)

    cdef Slot* _slot(self, uint64_t high, uint64_t low) noexcept nogil:
        """Of an id, or the free one that it would take. Ids are hashes, so their first bits spread them evenly, and
        nearly in the order in which a slice will have them."""
        cdef uint64_t at = self._place(high), last = (1 << self._bits) - 1
        while True:
            if self._slots[at].received_at_ms == FREE:
                break
            if self._slots[at].high == high and self._slots[at].low == low:
                break
            at = at + 1 & last
        return &self._slots[at]

    cdef bint _is_too_small_for(self, Py_ssize_t count) noexcept nogil:
        """Half full at most: fuller, it would be searched for longer."""
        return 2 * count > 1 << self._bits

    cdef void fetch_ahead(self, uint64_t high) noexcept nogil:
        """Have the processor fetch what will be looked at soon: ids lie anywhere in the table, and to wait for memory
        would cost more than all else."""
        fetch(&self._slots[self._place(high)])

    cdef int _grow(self) except -1:
        cdef Slot* before = self._slots
        cdef Py_ssize_t at, count = 1 << self._bits
        self._slots = _free_slots(self._bits + 1)
        self._bits += 1
        for at in range(count):
            if before[at].received_at_ms != FREE:
                self._slot(before[at].high, before[at].low)[0] = before[at]
        PyMem_Free(before)
        return 0


cdef Slot* _free_slots(int bits) except NULL:
    cdef Py_ssize_t at, count = 1 << bits
    cdef Slot* slots = <Slot*>PyMem_Malloc(count * sizeof(Slot))
    if slots == NULL:
        raise MemoryError
    for at in range(count):
        slots[at].received_at_ms = FREE
    return slots
