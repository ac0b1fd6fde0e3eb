# cython: language_level=3
cimport cython

from libc.stdint cimport int64_t, uint64_t

cdef struct Slot:
    int64_t received_at_ms  # `FREE` where the slot is
    uint64_t high, low


@cython.final
cdef class IdTable:
    cdef Slot* _slots
    cdef int _bits  # there are 2 to this power
    cdef Py_ssize_t _used

    cpdef bint claim(self, uint64_t high, uint64_t low, int64_t received_at_ms, int64_t window_ms) except -1
    cdef Py_ssize_t _place(self, uint64_t high) noexcept nogil
    cdef Slot* _slot(self, uint64_t high, uint64_t low) noexcept nogil
    cdef void fetch_ahead(self, uint64_t high) noexcept nogil
    cdef bint _is_too_small_for(self, Py_ssize_t count) noexcept nogil
    cdef int _grow(self) except -1
