# cython: language_level=3
"""JSON that is read over where it lies, without an object made of it: what compiled readers share.

Plain is: JSON without line breaks and without halves of surrogate pairs, numbers without exponents, nested less than
`DEEPEST`. Python ends bytes with a NUL, which is a plain part of no JSON: what reads over them checks no bounds. Each
of these goes to what is behind it, or to NULL where it is not plain.
"""

from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcmp, strchr, strncmp

ctypedef const unsigned char* Text

cdef struct Span:
    Text at  # NULL where it is not said, or null
    Py_ssize_t size  # 0 also where it is an empty text

cdef struct Member:
    Span name
    Span value

cdef enum:
    DEEPEST = 64
    ZERO = 48  # the digit
    NONE = -1
    CONTROL = 1
    NOT_ASCII = 0x80


# Members of an object.


cdef inline Text into_object(Text p) noexcept nogil:
    """From an object's brace to its first member or the brace that ends it; NULL where it is neither."""
    if p[0] != b"{":
        return NULL
    p = after_space(p + 1)
    return p if p[0] == b'"' or p[0] == b"}" else NULL


cdef inline Text member(Text p, Member* m, int depth) noexcept nogil:
    """Read a member, and go to the next one or the brace behind it; NULL where it is not plain."""
    cdef Text name = p
    p = after_string(p + 1)
    if p == NULL:
        return NULL
    m.name = Span(name + 1, p - name - 2)
    p = after_space(p)
    if p[0] != b":":
        return NULL
    p = after_space(p + 1)
    m.value.at = p
    p = after_value(p, depth)
    if p == NULL:
        return NULL
    m.value.size = p - m.value.at
    p = after_space(p)
    if p[0] == b"}":
        return p
    if p[0] != b",":
        return NULL
    p = after_space(p + 1)
    return p if p[0] == b'"' else NULL


cdef inline bint equals(Span text, const char* other, Py_ssize_t size) noexcept nogil:
    return text.size == size and memcmp(text.at, other, size) == 0


cdef inline bint is_unknown(Member* m) noexcept nogil:
    """Whether a name that was compared with all that are known cannot be one of them in another spelling."""
    return memchr(m.name.at, b"\\", m.name.size) == NULL


cdef inline bint take_text(Member* m, Span* text) noexcept nogil:
    """Whether it is a plain text or null, which count as not said where they are empty."""
    text.at, text.size = NULL, 0
    if m.value.at[0] == b"n":
        return True
    if m.value.at[0] != b'"' or memchr(m.value.at, b"\\", m.value.size) != NULL:
        return False
    text.at, text.size = m.value.at + 1, m.value.size - 2
    return True


cdef inline bint take_object(Member* m, Span* value) noexcept nogil:
    value[0] = m.value
    return m.value.at[0] == b"{"


cdef inline object text_of(Span text):
    """As Python's own; None where it is not said, or empty."""
    return PyUnicode_DecodeUTF8(<const char*>text.at, text.size, NULL) if text.size else None


# JSON that is read over. Each of these goes to what is behind it, or to NULL where it is not plain.


cdef inline Text after_space(Text p) noexcept nogil:
    while p[0] == b" ":
        p += 1
    return p


cdef inline Text after_value(Text p, int depth) noexcept nogil:
    if p[0] == b'"':
        return after_string(p + 1)
    if p[0] == b"{":
        return after_object(p, depth)
    if p[0] == b"[":
        return after_array(p, depth)
    if p[0] == b"t":
        return p + 4 if strncmp(<const char*>p, b"true", 4) == 0 else NULL
    if p[0] == b"f":
        return p + 5 if strncmp(<const char*>p, b"false", 5) == 0 else NULL
    if p[0] == b"n":
        return p + 4 if strncmp(<const char*>p, b"null", 4) == 0 else NULL
    return after_number(p)


cdef inline unsigned char special(Text p, Py_ssize_t size) noexcept nogil:
    """Whether there is a character of CONTROL, of NOT_ASCII. A loop that compilers make a vector's, many bytes at once."""
    cdef unsigned char found = 0
    cdef Py_ssize_t at
    for at in range(size):
        found |= (p[at] & NOT_ASCII) | (p[at] < 0x20)
    return found


cdef inline Text after_string(Text p) noexcept nogil:
    """From behind its first quote."""
    cdef Text quote
    while True:
        quote = <Text>strchr(<const char*>p, b'"')
        if quote == NULL:
            return NULL
        p = <Text>memchr(p, b"\\", quote - p)
        if p == NULL:
            return quote + 1
        if p[1] == b"u":
            if not (is_hex(p[2]) and is_hex(p[3]) and is_hex(p[4]) and is_hex(p[5])):
                return NULL
            if (p[2] == b"d" or p[2] == b"D") and p[3] >= b"8":
                return NULL  # half of a surrogate pair, or the half of one
            p += 6
        elif p[1] != 0 and memchr(b'"\\/bfnrt', p[1], 8) != NULL:
            p += 2
        else:
            return NULL


cdef inline bint is_hex(unsigned char c) noexcept nogil:
    return b"0" <= c <= b"9" or b"a" <= c <= b"f" or b"A" <= c <= b"F"


cdef inline Text after_object(Text p, int depth) noexcept nogil:
    cdef Member m
    if depth == DEEPEST:
        return NULL
    p = into_object(p)
    while p != NULL and p[0] != b"}":
        p = member(p, &m, depth + 1)
    return p + 1 if p != NULL else NULL


cdef inline Text after_array(Text p, int depth) noexcept nogil:
    if depth == DEEPEST:
        return NULL
    p = after_space(p + 1)
    if p[0] == b"]":
        return p + 1
    while True:
        p = after_value(p, depth + 1)
        if p == NULL:
            return NULL
        p = after_space(p)
        if p[0] == b"]":
            return p + 1
        if p[0] != b",":
            return NULL
        p = after_space(p + 1)


cdef inline Text after_number(Text p) noexcept nogil:
    if p[0] == b"-":
        p += 1
    if p[0] == b"0":
        p += 1
    elif b"1" <= p[0] <= b"9":
        p = after_digits(p)
    else:
        return NULL
    if p[0] == b".":
        p = after_digits(p + 1) if b"0" <= p[1] <= b"9" else NULL
    return NULL if p != NULL and (p[0] == b"e" or p[0] == b"E") else p


cdef inline long long number(Span text) noexcept nogil:
    """A whole number of at most 13 digits; NONE where it is none."""
    cdef long long number = 0
    cdef Py_ssize_t at
    if text.size > 13:
        return NONE
    for at in range(text.size):
        if not b"0" <= text.at[at] <= b"9":
            return NONE
        number = 10 * number + (text.at[at] - ZERO)
    return number


cdef inline Text after_digits(Text p) noexcept nogil:
    while b"0" <= p[0] <= b"9":
        p += 1
    return p
