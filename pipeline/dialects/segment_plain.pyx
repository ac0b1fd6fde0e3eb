# cython: language_level=3, boundscheck=False, initializedcheck=False
"""Track and identify calls as most clients write them, read in one pass over their bytes: a sixth of what it costs
`segment.read_call`, which says what a call means. What is not plain is left to it, and what is plain comes to the same.

Plain is: JSON without line breaks whose members are of the expected types, ids and names without escapes, instants as
RFC 3339 text. The bytes are valid UTF-8 already. Python ends them with a NUL, which is a plain part of no JSON: no
bounds are checked.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcmp, memset, strchr, strncmp

from msgspec import Raw

from pipeline.dialects.segment_context import CHANNELS, captured
from pipeline.instants import LATEST_MS
from pipeline.session import SESSION_MS
from pipeline.traits import person_traits
from topics.raw import EMPTY_OBJECT
from topics.stitched import StitchedEvent

ctypedef const unsigned char* Text

cdef struct Span:
    Text at  # NULL where it is not said, or null
    Py_ssize_t size

cdef struct Member:
    Span name
    Span value

cdef struct Call:
    Span type, user_id, anonymous_id, event, group_id, timestamp, original_timestamp, sent_at, channel
    Span properties, traits, context, integrations

cdef struct Context:
    Span ip, user_agent, channel, session_id, library_name, library_version
    bint says_ip, says_user_agent, says_channel, has_traits

cdef enum:
    DEEPEST = 64
    ZERO = 48  # the digit
    UNREADABLE = -1

cdef long long _LATEST_MS = LATEST_MS, _SESSION_MS = SESSION_MS

cdef extern from "Python.h":
    object PyUnicode_FromFormat(const char* format, ...)


def read_plain_call(bytes value, stamp):
    """The event of `segment.read_call`, or None where that has to be asked. Raises nothing that it would not."""
    cdef Call call
    cdef Context seen
    cdef long long original = UNREADABLE, sent = UNREADABLE, received = stamp.received_at_ms, timestamp
    cdef Span happened, sent_at
    memset(&call, 0, sizeof(Call))
    memset(&seen, 0, sizeof(Context))
    if not _read_call(<Text>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), &call):
        return None
    kind = stamp.call or _text(call.type)
    is_track = kind == "track"
    if not is_track and kind != "identify":
        return None
    if call.context.at != NULL and not _read_context(call.context.at, &seen):
        return None
    # Step 1. When it happened.
    happened = call.original_timestamp if call.original_timestamp.size else call.timestamp
    sent_at = call.sent_at if call.sent_at.size else _span_of(stamp.sent_at)
    if happened.size:
        original = _instant(happened.at, happened.size)
        if original == UNREADABLE:
            return None
    if sent_at.size:
        sent = _instant(sent_at.at, sent_at.size)
        if sent == UNREADABLE:
            return None
    timestamp = _corrected(received, sent, original)
    # Step 2. Who did what.
    anonymous_id, user_id = _text(call.anonymous_id), _text(call.user_id)
    traits = _object(call.traits)
    warnings = ()
    if is_track:
        event_name = _text(call.event)
        if event_name is None:
            return None
    else:
        if user_id is None or seen.has_traits:
            return None
        event_name, told = "$identify", []
        traits = person_traits(traits, EMPTY_OBJECT, user_id, told)
        warnings = tuple(told)
    # Step 3. Where.
    context = _with_captured(&call, &seen, stamp)
    if context is None:
        return None
    integrations = stamp.integrations
    if call.integrations.at != NULL:
        if integrations is not EMPTY_OBJECT:
            return None
        integrations = _object(call.integrations)
    return StitchedEvent(
        stamp.project_id,
        stamp.message_id,
        "track" if is_track else "identify",
        event_name,
        anonymous_id,
        user_id,
        user_id,
        _text(seen.session_id) or _session(anonymous_id, timestamp),
        timestamp / 1000.0,
        None if original == UNREADABLE else original / 1000.0,
        None if sent == UNREADABLE else sent / 1000.0,
        received / 1000.0,
        _object(call.properties),
        traits,
        context,
        integrations,
        _library(&seen),
        warnings,
        Raw(value),
    )


cdef bint _read_call(Text p, Py_ssize_t size, Call* call) noexcept nogil:
    """Whether the call is plain, as far as its own members go."""
    cdef Text end = p + size
    cdef Member m
    cdef bint is_plain
    if _has_control_characters(p, size):
        return False
    p = _into_object(_after_space(p))
    if p == NULL:
        return False
    while p[0] != b"}":
        p = _member(p, &m, 1)
        if p == NULL:
            return False
        if _is(&m, b"type", 4):
            is_plain = _take_text(&m, &call.type)
        elif _is(&m, b"event", 5):
            is_plain = _take_text(&m, &call.event)
        elif _is(&m, b"userId", 6):
            is_plain = _take_text(&m, &call.user_id)
        elif _is(&m, b"sentAt", 6):
            is_plain = _take_text(&m, &call.sent_at)
        elif _is(&m, b"traits", 6):
            is_plain = _take_object(&m, &call.traits)
        elif _is(&m, b"groupId", 7):
            is_plain = _take_text(&m, &call.group_id)
        elif _is(&m, b"channel", 7):
            is_plain = _take_text(&m, &call.channel)
        elif _is(&m, b"context", 7):
            is_plain = _take_object(&m, &call.context)
        elif _is(&m, b"timestamp", 9):
            is_plain = _take_text(&m, &call.timestamp)
        elif _is(&m, b"properties", 10):
            is_plain = _take_object(&m, &call.properties)
        elif _is(&m, b"anonymousId", 11):
            is_plain = _take_text(&m, &call.anonymous_id)
        elif _is(&m, b"integrations", 12):
            is_plain = _take_object(&m, &call.integrations)
        elif _is(&m, b"originalTimestamp", 17):
            is_plain = _take_text(&m, &call.original_timestamp)
        else:
            is_plain = _is_unknown(&m) and not _is(&m, b"previousId", 10)
        if not is_plain:
            return False
    return _after_space(p + 1) == end


cdef bint _read_context(Text p, Context* seen) noexcept nogil:
    """Whether the context is plain, an object that was read over already."""
    cdef Member m
    cdef bint is_plain
    p = _into_object(p)
    while p[0] != b"}":
        p = _member(p, &m, 1)
        if _is(&m, b"ip", 2):
            seen.says_ip = True
            is_plain = _take_text(&m, &seen.ip)
        elif _is(&m, b"userAgent", 9):
            seen.says_user_agent = True
            is_plain = _take_text(&m, &seen.user_agent)
        elif _is(&m, b"channel", 7):
            seen.says_channel = True
            is_plain = _take_text(&m, &seen.channel)
        elif _is(&m, b"sessionId", 9):
            is_plain = _take_text(&m, &seen.session_id)
        elif _is(&m, b"library", 7):
            is_plain = m.value.at[0] == b"{" and _read_library(m.value.at, seen)
        elif _is(&m, b"traits", 6):
            seen.has_traits = is_plain = True
        elif _is(&m, b"active", 6):
            is_plain = m.value.at[0] == b"t" or m.value.at[0] == b"f"
        else:
            is_plain = _is_unknown(&m)
        if not is_plain:
            return False
    return True


cdef bint _read_library(Text p, Context* seen) noexcept nogil:
    cdef Member m
    cdef bint is_plain
    seen.library_name = seen.library_version = Span(NULL, 0)
    p = _into_object(p)
    while p[0] != b"}":
        p = _member(p, &m, 1)
        if _is(&m, b"name", 4):
            is_plain = _take_text(&m, &seen.library_name)
        elif _is(&m, b"version", 7):
            is_plain = _take_text(&m, &seen.library_version)
        else:
            is_plain = _is_unknown(&m)
        if not is_plain:
            return False
    return True


cdef object _with_captured(Call* call, Context* seen, stamp):
    """The context with what belongs into it beside what the client said; None where that is more than to put it in
    front."""
    channel, said = _text(call.channel), _text(seen.channel) or _text(call.channel)
    if stamp.context is not EMPTY_OBJECT or (said is not None and said not in CHANNELS):
        return None
    ip = user_agent = None
    if stamp.key_kind == "public":
        ip = None if seen.ip.size else stamp.ip
        user_agent = None if seen.user_agent.size else stamp.user_agent
    if seen.channel.size:
        channel = None
    if channel is None and ip is None and user_agent is None:
        return _object(call.context)
    if (
        (channel is not None and seen.says_channel)
        or (ip is not None and seen.says_ip)
        or (user_agent is not None and seen.says_user_agent)
    ):
        return None
    opening = captured(channel, ip, user_agent)
    if call.context.at == NULL or _into_object(call.context.at)[0] == b"}":
        return Raw(opening[:-1] + b"}")
    return Raw(opening + PyBytes_FromStringAndSize(<const char*>call.context.at + 1, call.context.size - 1))


cdef object _session(anonymous_id, long long timestamp):
    """`pipeline.session.session_of`."""
    if anonymous_id is None:
        return None
    return PyUnicode_FromFormat("%U-%lld", <void*>anonymous_id, timestamp // _SESSION_MS)


cdef object _library(Context* seen):
    name, version = _text(seen.library_name), _text(seen.library_version)
    return f"{name}/{version}" if name and version else name


cdef long long _corrected(long long received, long long sent, long long original) noexcept nogil:
    """`pipeline.instants.corrected`."""
    if original == UNREADABLE:
        return received
    cdef long long happened = original if sent == UNREADABLE else received - sent + original
    return max(0, min(happened, received))


cdef long long _instant(Text p, Py_ssize_t size) noexcept nogil:
    """Unix milliseconds of `2026-01-31T12:34:56[.123[456]](Z|+01:00)`; UNREADABLE where it is not of that form, or not
    one that `pipeline.instants.read_instant` takes."""
    cdef int year, month, day, hour, minute, second, earlier, micros = 0, offset = 0
    cdef long long days, ms
    cdef Text end = p + size
    if size < 20 or p[4] != b"-" or p[7] != b"-" or p[10] != b"T" or p[13] != b":" or p[16] != b":":
        return UNREADABLE
    year, month, day = _digits(p, 4), _digits(p + 5, 2), _digits(p + 8, 2)
    hour, minute, second = _digits(p + 11, 2), _digits(p + 14, 2), _digits(p + 17, 2)
    p += 19
    if p[0] == b"." and end - p >= 8 and b"0" <= p[4] <= b"9":
        micros = _digits(p + 1, 6)
        p += 7
    elif p[0] == b"." and end - p >= 5:
        micros = 1000 * _digits(p + 1, 3)
        p += 4
    if end - p == 6 and (p[0] == b"+" or p[0] == b"-") and p[3] == b":":
        if not (0 <= _digits(p + 1, 2) < 24 and 0 <= _digits(p + 4, 2) < 60):
            return UNREADABLE
        offset = 60 * _digits(p + 1, 2) + _digits(p + 4, 2)
        offset = -offset if p[0] == b"-" else offset
    elif end - p != 1 or p[0] != b"Z":
        return UNREADABLE
    if year < 1 or month < 1 or month > 12 or day < 1 or day > _days_in(year, month) or micros < 0:
        return UNREADABLE
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        return UNREADABLE
    days = 365 * (year - 1) + (year - 1) // 4 - (year - 1) // 100 + (year - 1) // 400 - 719162
    for earlier in range(1, month):
        days += _days_in(year, earlier)
    ms = (((days + day - 1) * 24 + hour) * 60 + minute - offset) * 60_000 + second * 1000 + (micros + 500) // 1000
    return ms if 0 <= ms <= _LATEST_MS else UNREADABLE


cdef int _days_in(int year, int month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef int _digits(Text p, int count) noexcept nogil:
    """A number of so many digits; a negative one where they are not all digits."""
    cdef int number = 0, at
    for at in range(count):
        if not b"0" <= p[at] <= b"9":
            return -1_000_000
        number = 10 * number + (p[at] - ZERO)
    return number


# Members of an object.


cdef Text _into_object(Text p) noexcept nogil:
    """From an object's brace to its first member or the brace that ends it; NULL where it is neither."""
    if p[0] != b"{":
        return NULL
    p = _after_space(p + 1)
    return p if p[0] == b'"' or p[0] == b"}" else NULL


cdef Text _member(Text p, Member* m, int depth) noexcept nogil:
    """Read a member, and go to the next one or the brace behind it; NULL where it is not plain."""
    cdef Text name = p
    p = _after_string(p + 1)
    if p == NULL:
        return NULL
    m.name = Span(name + 1, p - name - 2)
    p = _after_space(p)
    if p[0] != b":":
        return NULL
    p = _after_space(p + 1)
    m.value.at = p
    p = _after_value(p, depth)
    if p == NULL:
        return NULL
    m.value.size = p - m.value.at
    p = _after_space(p)
    if p[0] == b"}":
        return p
    if p[0] != b",":
        return NULL
    p = _after_space(p + 1)
    return p if p[0] == b'"' else NULL


cdef bint _is(Member* m, const char* name, Py_ssize_t size) noexcept nogil:
    return m.name.size == size and memcmp(m.name.at, name, size) == 0


cdef bint _is_unknown(Member* m) noexcept nogil:
    """Whether a name that was compared with all that are known cannot be one of them in another spelling."""
    return memchr(m.name.at, b"\\", m.name.size) == NULL


cdef bint _take_text(Member* m, Span* text) noexcept nogil:
    """Whether it is a plain text or null, which count as not said where they are empty."""
    text.at, text.size = NULL, 0
    if m.value.at[0] == b"n":
        return True
    if m.value.at[0] != b'"' or memchr(m.value.at, b"\\", m.value.size) != NULL:
        return False
    text.at, text.size = m.value.at + 1, m.value.size - 2
    return True


cdef bint _take_object(Member* m, Span* value) noexcept nogil:
    value[0] = m.value
    return m.value.at[0] == b"{"


cdef object _text(Span text):
    """None where it is not said, or empty."""
    return PyUnicode_DecodeUTF8(<const char*>text.at, text.size, NULL) if text.size else None


cdef Span _span_of(object text):
    cdef Span span = Span(NULL, 0)
    if text is not None:
        span.at = <Text>PyUnicode_AsUTF8AndSize(text, &span.size)
    return span


cdef object _object(Span value):
    if value.at == NULL:
        return EMPTY_OBJECT
    return Raw(PyBytes_FromStringAndSize(<const char*>value.at, value.size))


# JSON that is read over. Each of these goes to what is behind it, or to NULL where it is not plain.


cdef inline Text _after_space(Text p) noexcept nogil:
    while p[0] == b" ":
        p += 1
    return p


cdef Text _after_value(Text p, int depth) noexcept nogil:
    if p[0] == b'"':
        return _after_string(p + 1)
    if p[0] == b"{":
        return _after_object(p, depth)
    if p[0] == b"[":
        return _after_array(p, depth)
    if p[0] == b"t":
        return p + 4 if strncmp(<const char*>p, b"true", 4) == 0 else NULL
    if p[0] == b"f":
        return p + 5 if strncmp(<const char*>p, b"false", 5) == 0 else NULL
    if p[0] == b"n":
        return p + 4 if strncmp(<const char*>p, b"null", 4) == 0 else NULL
    return _after_number(p)


cdef bint _has_control_characters(Text p, Py_ssize_t size) noexcept nogil:
    """A loop that compilers make a vector's: sixteen bytes at once."""
    cdef unsigned char found = 0
    cdef Py_ssize_t at
    for at in range(size):
        found |= p[at] < 0x20
    return found


cdef Text _after_string(Text p) noexcept nogil:
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
            if not (_is_hex(p[2]) and _is_hex(p[3]) and _is_hex(p[4]) and _is_hex(p[5])):
                return NULL
            if (p[2] == b"d" or p[2] == b"D") and p[3] >= b"8":
                return NULL  # half of a surrogate pair, or the half of one
            p += 6
        elif p[1] != 0 and memchr(b'"\\/bfnrt', p[1], 8) != NULL:
            p += 2
        else:
            return NULL


cdef bint _is_hex(unsigned char c) noexcept nogil:
    return b"0" <= c <= b"9" or b"a" <= c <= b"f" or b"A" <= c <= b"F"


cdef Text _after_object(Text p, int depth) noexcept nogil:
    cdef Member m
    if depth == DEEPEST:
        return NULL
    p = _into_object(p)
    while p != NULL and p[0] != b"}":
        p = _member(p, &m, depth + 1)
    return p + 1 if p != NULL else NULL


cdef Text _after_array(Text p, int depth) noexcept nogil:
    if depth == DEEPEST:
        return NULL
    p = _after_space(p + 1)
    if p[0] == b"]":
        return p + 1
    while True:
        p = _after_value(p, depth + 1)
        if p == NULL:
            return NULL
        p = _after_space(p)
        if p[0] == b"]":
            return p + 1
        if p[0] != b",":
            return NULL
        p = _after_space(p + 1)


cdef Text _after_number(Text p) noexcept nogil:
    if p[0] == b"-":
        p += 1
    if p[0] == b"0":
        p += 1
    elif b"1" <= p[0] <= b"9":
        p = _after_digits(p)
    else:
        return NULL
    if p[0] == b".":
        p = _after_digits(p + 1) if b"0" <= p[1] <= b"9" else NULL
    return NULL if p != NULL and (p[0] == b"e" or p[0] == b"E") else p


cdef Text _after_digits(Text p) noexcept nogil:
    while b"0" <= p[0] <= b"9":
        p += 1
    return p
