# cython: language_level=3
"""A row of the identity table that is read where it lies: whose an anonymous id is, where it is one user's alone."""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memchr, strncmp

from pipeline.plain_json cimport DEEPEST, Span, Text, after_number, after_string, after_value, equals


cdef inline bint is_of_one_user(bytes row, Span* user_id) noexcept:
    """Whether all points of a row are of one user and count like any other: [[[at,"message","user",implicit,false],…],
    ["user"]], as `pipeline.owner_rows` writes it, the user with nothing escaped. `user_id` is blank before."""
    cdef Text p = after(<Text>PyBytes_AS_STRING(row), b"[[[", 3)
    while p != NULL:
        p = _after_point(p, user_id)
        if p == NULL or p[0] != b",":
            break
        p = after(p, b",[", 2)
    p = after(after(p, b'],["', 4), <const char*>user_id.at, user_id.size)
    p = after(p, b'"]]', 3)
    return p != NULL and p[0] == 0


cdef inline Text _after_point(Text p, Span* user_id) noexcept nogil:
    """From behind its bracket; NULL where it is not of this user, whom the first point tells."""
    cdef Span said
    p = after(after_number(p), b',"', 2)
    p = NULL if p == NULL else after(after_string(p), b',"', 2)
    said.at = p
    p = NULL if p == NULL else after(after_string(p), b",", 1)
    if p == NULL:
        return NULL
    said.size = p - said.at - 2
    if user_id.at == NULL and memchr(said.at, b"\\", said.size) == NULL:
        user_id[0] = said
    if user_id.at == NULL or not equals(said, <const char*>user_id.at, user_id.size) or p[0] != b"t" and p[0] != b"f":
        return NULL
    return after(after_value(p, DEEPEST), b",false]", 7)


cdef inline Text after(Text p, const char* expected, Py_ssize_t size) noexcept nogil:
    """NULL where it does not stand there."""
    return NULL if p == NULL or strncmp(<const char*>p, expected, size) else p + size
