# cython: language_level=3
"""A fact of who is who as it lies in its record, and the order in which facts count."""

from libc.stdint cimport int64_t
from libc.string cimport memcmp

from pipeline.plain_json cimport Span


cdef struct Fact:
    int64_t happened  # Unix milliseconds
    Span message_id, user_id
    bint is_implicit
    Py_ssize_t before  # the number of the fact of the same anonymous id that came before; of no meaning in the first


cdef inline int by_moment(const void* one, const void* other) noexcept nogil:
    """What came first is first."""
    cdef Fact* a = (<Fact**>one)[0]
    cdef Fact* b = (<Fact**>other)[0]
    cdef int compared = compared_by_moment(a, b)
    return compared if compared else -1 if a < b else 1


cdef inline int compared_by_moment(Fact* a, Fact* b) noexcept nogil:
    """As Python compares (timestamp, message id), whose bytes are characters."""
    cdef int order
    if a.happened != b.happened:
        return -1 if a.happened < b.happened else 1
    order = memcmp(a.message_id.at, b.message_id.at, min(a.message_id.size, b.message_id.size))
    if order == 0 and a.message_id.size != b.message_id.size:
        return -1 if a.message_id.size < b.message_id.size else 1
    return order


cdef inline Py_ssize_t first_of_each_moment(Fact** facts, Py_ssize_t count) noexcept nogil:
    """Put them in front, and count them."""
    cdef Py_ssize_t at, kept = 1
    for at in range(1, count):
        if compared_by_moment(facts[at], facts[kept - 1]):
            facts[kept] = facts[at]
            kept += 1
    return kept
