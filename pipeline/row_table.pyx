# cython: language_level=3, boundscheck=False, initializedcheck=False
"""The rows of a batch that claimed their ids. A row's number stands for its id, so that the table of a large batch stays
in the nearest cache."""

import numpy as np

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int32_t, int64_t, uint64_t

from pipeline.receipts import Receipts


cdef class RowTable:
    def __cinit__(self, receipts, int64_t window_ms):
        self._receipts, self._window_ms = receipts, window_ms
        self._high, self._low, self._received_at_ms = receipts.high, receipts.low, receipts.received_at_ms
        self._bits = 1
        while 1 << self._bits < 2 * self._high.shape[0]:  # half full at most: fuller, it would be searched for longer
            self._bits += 1
        self._slots = <int32_t*>PyMem_Calloc(1 << self._bits, sizeof(int32_t))
        if self._slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self._slots)

    cpdef bint claim(self, Py_ssize_t row) except -1:
        # Ids are hashes, so their first bits spread them evenly.
        cdef uint64_t at = self._high[row] >> (64 - self._bits), last = (1 << self._bits) - 1
        cdef Py_ssize_t before
        while self._slots[at]:
            before = self._slots[at] - 1
            if self._high[before] == self._high[row] and self._low[before] == self._low[row]:
                if self._received_at_ms[row] - self._received_at_ms[before] < self._window_ms:
                    return False
                self._used -= 1
                break
            at = at + 1 & last
        self._slots[at] = row + 1
        self._used += 1
        return True

    def receipts(self):
        claimed = Receipts.blank(self._used)
        cdef uint64_t[::1] high = claimed.high, low = claimed.low
        cdef int64_t[::1] received_at_ms = claimed.received_at_ms
        cdef Py_ssize_t at, row, count = 0
        for at in range(1 << self._bits):
            if self._slots[at]:
                row = self._slots[at] - 1
                high[count], low[count] = self._high[row], self._low[row]
                received_at_ms[count] = self._received_at_ms[row]
                count += 1
        return claimed
