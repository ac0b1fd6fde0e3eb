# cython: language_level=3
"""A fact of who is who as it lies in its record, the order in which facts count, and those at either end."""

from libc.stdint cimport int64_t
from libc.string cimport memcmp, memmove

from pipeline.plain_json cimport Span

cdef enum:
    KEPT = 8  # `pipeline.identity.KEPT_AT_EACH_END`
    MOST_KEPT = 2 * KEPT


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


cdef struct Ends:  # the earliest facts and the latest, each the outermost first
    Fact* earliest[KEPT]
    Fact* latest[KEPT]
    int earliest_count, latest_count


cdef inline void keep(Ends* ends, Fact* fact) noexcept nogil:
    """Where it is one of them, and of no moment that is there."""
    ends.earliest_count = _placed(ends.earliest, ends.earliest_count, fact, 1)
    ends.latest_count = _placed(ends.latest, ends.latest_count, fact, -1)


cdef inline int kept_facts(Ends* ends, Fact** facts) noexcept nogil:
    """Put them there in order, and count them."""
    cdef int at, count = ends.earliest_count
    for at in range(count):
        facts[at] = ends.earliest[at]
    for at in range(ends.latest_count - 1, -1, -1):
        if compared_by_moment(facts[count - 1], ends.latest[at]) < 0:
            facts[count] = ends.latest[at]
            count += 1
    return count


cdef inline int _placed(Fact** outermost, int count, Fact* fact, int sign) noexcept nogil:
    """Put a fact where it belongs, and count them."""
    cdef int compared, at = count
    while at:
        compared = sign * compared_by_moment(fact, outermost[at - 1])
        if compared == 0:
            return count
        if compared > 0:
            break
        at -= 1
    if at == KEPT:
        return count
    count = min(count + 1, <int>KEPT)
    memmove(&outermost[at + 1], &outermost[at], (count - 1 - at) * sizeof(Fact*))
    outermost[at] = fact
    return count
