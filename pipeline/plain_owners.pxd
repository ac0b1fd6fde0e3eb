# cython: language_level=3
cimport cython

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from pipeline.dialects.segment_plain cimport PlainCall
from pipeline.plain_fact cimport Ends, Fact
from pipeline.plain_json cimport Span


cdef struct Device:
    Span anonymous_id
    uint64_t hash
    PyObject* owner  # as JSON, who did any anonymous event of it; NULL where that is not known
    Py_ssize_t newest_fact, facts  # which are not told yet


@cython.final
cdef class PlainOwners:
    cdef object of_project  # `pipeline.owners.ProjectOwners`
    cdef object blocked_ids
    cdef bint links_implicitly
    cdef Py_ssize_t _max_users
    cdef list _kept  # what `Device.owner` points to
    cdef Device* _devices  # in the order in which they came
    cdef Py_ssize_t _device_count, _slots  # there is a power of 2 of slots, and twice as many as room for devices
    cdef Py_ssize_t _latest_device  # that was asked for, of those
    cdef int* _in_slots  # the number of the device in each, from 1 on; 0 where it is free
    cdef Fact* _facts  # in the order in which they came
    cdef Py_ssize_t _fact_count, _fact_room

    cdef int learn(self, PlainCall* plain) except -1
    cdef bytes owner_of(self, PlainCall* plain)
    cdef bytes _only_owner(self, Device* device)
    cdef int tell(self) except -1
    cdef int _tell_of(self, Device* device) except -1
    cdef bint _tell_row(self, Device* device) except -1
    cdef bint _keep_exact(self, Device* device, Span user_id, Ends* ends) except -1
    cdef list _points_of(self, Device* device)
    cdef Device* _device(self, Span anonymous_id) except NULL
    cdef int _make_room(self, Py_ssize_t slots) except -1
    cdef Fact* _new_fact(self) except NULL
