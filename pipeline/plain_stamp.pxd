# cython: language_level=3
"""The stamp of an ingress, `topics.raw.Stamp`, read where it lies."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memset

from pipeline.plain_json cimport NONE, Member, Span, Text, equals, into_object, member, number, special, take_text

cdef struct Stamp:
    Span project_id, message_id, call, dialect, key_kind, ip, user_agent, sent_at, anonymous_id
    long long received_at  # Unix milliseconds, of 13 digits at most: `topics.raw.LATEST_MS`
    Py_ssize_t size  # of the whole header


cdef inline bint stamp_of(headers, str name, Stamp* stamp):
    """Whether a record's one header has this name and is a plain stamp: in ASCII, without escapes."""
    if len(headers) != 1:
        return False
    header_name, header = headers[0]
    if header_name != name or type(header) is not bytes:
        return False
    return _read_stamp(<Text>PyBytes_AS_STRING(header), PyBytes_GET_SIZE(header), stamp)


cdef inline bint _read_stamp(Text p, Py_ssize_t size, Stamp* stamp) noexcept nogil:
    cdef Text end = p + size
    cdef Member m
    cdef bint is_plain
    memset(stamp, 0, sizeof(Stamp))
    stamp.received_at, stamp.size = NONE, size
    if special(p, size):
        return False
    p = into_object(p)
    if p == NULL:
        return False
    while p[0] != b"}":
        p = member(p, &m, 1)
        if p == NULL:
            return False
        if equals(m.name, b"project_id", 10):
            is_plain = take_text(&m, &stamp.project_id)
        elif equals(m.name, b"message_id", 10):
            is_plain = take_text(&m, &stamp.message_id)
        elif equals(m.name, b"received_at_ms", 14):
            stamp.received_at = number(m.value)
            is_plain = stamp.received_at != NONE
        elif equals(m.name, b"dialect", 7):
            is_plain = take_text(&m, &stamp.dialect) and stamp.dialect.size > 0
        elif equals(m.name, b"call", 4):
            is_plain = m.value.at[0] == b'"' and take_text(&m, &stamp.call)
        elif equals(m.name, b"key_kind", 8):
            is_plain = take_text(&m, &stamp.key_kind)
            is_plain = is_plain and (
                equals(stamp.key_kind, b"secret", 6) or equals(stamp.key_kind, b"public", 6)
            )
        elif equals(m.name, b"ip", 2):
            is_plain = take_text(&m, &stamp.ip)
        elif equals(m.name, b"user_agent", 10):
            is_plain = take_text(&m, &stamp.user_agent)
        elif equals(m.name, b"sent_at", 7):
            is_plain = take_text(&m, &stamp.sent_at)
        elif equals(m.name, b"anonymous_id", 12):
            is_plain = take_text(&m, &stamp.anonymous_id)
        else:
            is_plain = False
        if not is_plain:
            return False
    return p + 1 == end and stamp.received_at != NONE and stamp.project_id.size > 0 and stamp.message_id.size > 0
