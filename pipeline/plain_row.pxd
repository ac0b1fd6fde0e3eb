# cython: language_level=3
"""A row of the identity table that is read and written where it lies: whose an anonymous id is, where it is one user's
alone. It is [[[at,"message","user",implicit,only_first],…],["user",…]], as `pipeline.owner_rows` writes it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memchr, strncmp

from pipeline.dialects.segment_plain cimport room_for
from pipeline.plain_fact cimport MOST_KEPT, Fact
from pipeline.plain_json cimport (
    DEEPEST, NONE, ZERO, Span, Text, after_digits, after_number, after_string, after_value, equals,
)
from pipeline.plain_write cimport put, put_said, put_seconds

cdef enum:
    AROUND_POINT = 64  # more than its instant and what is between its parts take


cdef struct Point:
    Span at, message_id, user_id
    bint is_implicit


cdef inline bint is_of_one_user(bytes row, Span* user_id) noexcept:
    """Whether all points of a row are of one user, with nothing escaped, and count like any other. `user_id` is blank
    before."""
    cdef Point point
    cdef Text p = after(<Text>PyBytes_AS_STRING(row), b"[[[", 3)
    while p != NULL:
        p = _after_point(p, &point)
        if p == NULL:
            return False
        if user_id.at == NULL and memchr(point.user_id.at, b"\\", point.user_id.size) == NULL:
            user_id[0] = point.user_id
        if user_id.at == NULL or not equals(point.user_id, <const char*>user_id.at, user_id.size):
            return False
        if p[0] != b",":
            break
        p = after(p, b",[", 2)
    p = after(after(p, b'],["', 4), <const char*>user_id.at, user_id.size)
    p = after(p, b'"]]', 3)
    return p != NULL and p[0] == 0


cdef inline int exact_facts(bytes row, Fact* facts) noexcept:
    """The points of a row that is one user's, as facts, and how many they are; NONE where any is implicit, is of no
    whole millisecond or has something escaped, or where they are too many."""
    cdef Point point
    cdef int count = 0
    cdef Text p = <Text>PyBytes_AS_STRING(row) + 3
    while True:
        p = _after_point(p, &point)
        if count == MOST_KEPT or point.is_implicit or memchr(point.message_id.at, b"\\", point.message_id.size):
            return NONE
        facts[count] = Fact(_milliseconds(point.at), point.message_id, point.user_id, False, 0)
        if facts[count].happened == NONE:
            return NONE
        count += 1
        if p[0] != b",":
            return count
        p += 2


cdef inline bytes row_of_facts(Fact** facts, int count):
    """That of exact facts of one user in their order."""
    cdef Span user_id = facts[0].user_id
    cdef Py_ssize_t most = user_id.size + AROUND_POINT
    cdef int at
    for at in range(count):
        most += facts[at].message_id.size + user_id.size + AROUND_POINT
    cdef char* start = room_for(most)
    cdef char* p = put(start, b"[")
    for at in range(count):
        p = put_seconds(put(p, b"[[" if at == 0 else b",["), facts[at].happened)
        p = put_said(put(p, b","), facts[at].message_id)
        p = put_said(put(p, b","), user_id)
        p = put(p, b",false,false]")
    p = put(put_said(put(p, b"],["), user_id), b"]]")
    return PyBytes_FromStringAndSize(start, p - start)


cdef inline Text _after_point(Text p, Point* point) noexcept nogil:
    """From behind its bracket; NULL where it is `only_first`, or is no user's."""
    point.at.at = p
    p = after_number(p)
    if p == NULL:
        return NULL
    point.at.size = p - point.at.at
    p = _after_text(after(p, b',"', 2), &point.message_id)
    p = _after_text(after(p, b',"', 2), &point.user_id)
    p = after(p, b",", 1)
    if p == NULL or p[0] != b"t" and p[0] != b"f":
        return NULL
    point.is_implicit = p[0] == b"t"
    return after(after_value(p, DEEPEST), b",false]", 7)


cdef inline Text _after_text(Text p, Span* text) noexcept nogil:
    """From behind its first quote."""
    text.at = p
    p = NULL if p == NULL else after_string(p)
    text.size = 0 if p == NULL else p - text.at - 1
    return p


cdef inline long long _milliseconds(Span seconds) noexcept nogil:
    """NONE where they are not that, or more than an event may tell."""
    cdef Text point = after_digits(seconds.at), end = seconds.at + seconds.size
    cdef Py_ssize_t at, decimals = end - point - 1
    cdef long long ms = 0
    if point - seconds.at > 10 or point[0] != b"." or not 1 <= decimals <= 3:
        return NONE
    for at in range(seconds.size):
        if seconds.at[at] != b".":
            ms = 10 * ms + (seconds.at[at] - ZERO)
    for at in range(3 - decimals):
        ms *= 10
    return ms


cdef inline Text after(Text p, const char* expected, Py_ssize_t size) noexcept nogil:
    """NULL where it does not stand there."""
    return NULL if p == NULL or strncmp(<const char*>p, expected, size) else p + size
