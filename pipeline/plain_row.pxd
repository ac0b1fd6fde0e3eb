# cython: language_level=3
"""A row of the identity table that is read where it lies: whose an anonymous id is, where it is one user's alone."""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memchr, strchr, strncmp

from pipeline.plain_json cimport Span, Text


cdef inline bint is_of_one_user(bytes row, Span* user_id) noexcept:
    """Whether all points of a row are of one user and count like any other: [[[at,"message","user",implicit,false],…],
    ["user"]], as `pipeline.owner_rows` writes it, with nothing escaped."""
    cdef Text p = behind(<Text>PyBytes_AS_STRING(row), b"[[", 2)
    user_id.at = NULL
    while p != NULL:
        p = _behind_point(p, user_id)
        if p == NULL or p[0] != b",":
            break
        p += 1
    p = behind(behind(p, b'],["', 4), <const char*>user_id.at, user_id.size)
    p = behind(p, b'"]]', 3)
    return p != NULL and p[0] == 0


cdef inline Text _behind_point(Text p, Span* user_id) noexcept:
    """NULL where it is not of this user, whom the first point tells."""
    cdef Text start
    p = behind(<Text>strchr(<const char*>p, b","), b',"', 2)
    start = p = behind(_to_quote(p), b'","', 3)
    p = _to_quote(p)
    if p == NULL:
        return NULL
    if user_id.at == NULL:
        user_id[0] = Span(start, p - start)
    p = behind(behind(start, <const char*>user_id.at, user_id.size), b'",', 2)
    if p == NULL:
        return NULL
    return behind(p + 4 if p[0] == b"t" else p + 5, b",false]", 7)


cdef inline Text _to_quote(Text p) noexcept:
    """From within a text to its end; NULL where something before it is escaped."""
    cdef Text quote = NULL if p == NULL else <Text>strchr(<const char*>p, b'"')
    return NULL if quote == NULL or memchr(p, b"\\", quote - p) != NULL else quote


cdef inline Text behind(Text p, const char* expected, Py_ssize_t size) noexcept:
    """NULL where it does not stand there."""
    return NULL if p == NULL or strncmp(<const char*>p, expected, size) else p + size
