# cython: language_level=3
cimport cython

from libc.stdint cimport int32_t, int64_t, uint64_t


@cython.final
cdef class RowTable:
    cdef object _receipts  # holds the columns
    cdef const uint64_t[::1] _high, _low
    cdef const int64_t[::1] _received_at_ms
    cdef int64_t _window_ms
    cdef int32_t* _slots  # behind each id's place the next row; 0 where it is free
    cdef int _bits  # there are 2 to this power
    cdef Py_ssize_t _used

    cpdef bint claim(self, Py_ssize_t row) except -1
