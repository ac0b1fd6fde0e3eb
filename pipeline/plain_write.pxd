# cython: language_level=3, cdivision=True
"""JSON that is written into room which is large enough: what compiled writers share. Each goes to what is behind it."""

from libc.string cimport memcpy, strlen

from pipeline.plain_json cimport NONE, ZERO, Span, Text


cdef inline char* put_bytes(char* p, Text text, Py_ssize_t size) noexcept nogil:
    memcpy(p, text, size)
    return p + size


cdef inline char* put(char* p, const char* text) noexcept nogil:
    return put_bytes(p, <Text>text, strlen(text))


cdef inline char* put_text(char* p, Span text) noexcept nogil:
    """null where it is not said, or empty."""
    if not text.size:
        return put(p, b"null")
    return put_said(p, text)


cdef inline char* put_said(char* p, Span text) noexcept nogil:
    return put(put_bytes(put(p, b'"'), text.at, text.size), b'"')


cdef inline char* put_object(char* p, Span text) noexcept nogil:
    return put(p, b"{}") if text.at == NULL else put_bytes(p, text.at, text.size)


cdef inline char* put_number(char* p, long long number) noexcept nogil:
    cdef char digits[20]
    cdef int at = 20
    while True:
        at -= 1
        digits[at] = ZERO + number % 10
        number //= 10
        if number == 0:
            return put_bytes(p, <Text>digits + at, 20 - at)


cdef inline char* put_seconds(char* p, long long ms) noexcept nogil:
    """As a decimal without zeros at its end, but for a first one."""
    cdef int thousandths, digit
    if ms == NONE:
        return put(p, b"null")
    p = put(put_number(p, ms // 1000), b".")
    thousandths = ms % 1000
    for digit in range(3):
        p[0] = ZERO + thousandths // 100
        p += 1
        thousandths = thousandths % 100 * 10
        if thousandths == 0:
            break
    return p
