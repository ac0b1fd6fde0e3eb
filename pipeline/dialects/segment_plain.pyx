# cython: language_level=3, boundscheck=False, initializedcheck=False, cdivision=True
"""Track and identify calls as most clients write them, read where they lie and written as records of events, in a third
of the instructions of `pipeline.validate` and `topics.stitched.encode`, which say what comes out. What is not plain is
left to them.

Plain is: JSON without line breaks whose members are of the expected types, ids and names without escapes, instants as
RFC 3339 text, and nothing that would be warned of. Texts are then copied as they are. Python ends bytes with a NUL,
which is a plain part of no JSON: what reads over them checks no bounds.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Realloc
from libc.string cimport memchr, memset

from pipeline.plain_json cimport (
    CONTROL,
    NONE,
    NOT_ASCII,
    ZERO,
    Member,
    Span,
    Text,
    after_space,
    equals,
    into_object,
    is_unknown,
    member,
    special,
    take_object,
    take_text,
    text_of,
)
from pipeline.plain_stamp cimport Stamp
from pipeline.plain_write cimport put, put_bytes, put_number, put_object, put_said, put_seconds, put_text

from msgspec import Raw

from pipeline.blocked import LONGEST_PLACEHOLDER, is_blocked
from pipeline.dialects.segment_context import CHANNELS
from pipeline.session import SESSION_MS
from pipeline.traits import PLAIN_TRAITS, person_traits
from topics.raw import EMPTY_OBJECT, LATEST_MS, MAX_MESSAGE_ID

cdef enum:
    AROUND = 2048  # more than the names in a record and its instants take

cdef dict _PLAIN_TRAITS = dict(PLAIN_TRAITS)
cdef long long _LATEST_MS = LATEST_MS, _SESSION_MS = SESSION_MS
cdef Py_ssize_t _LONGEST = LONGEST_PLACEHOLDER
cdef Py_ssize_t _MAX_MESSAGE_ID = MAX_MESSAGE_ID  # a stamp is plain in ASCII only: bytes are characters


cdef bytes read_plain(bytes value, PlainCall* plain):
    """Read a record of `events.raw`, whose stamp was read. What comes back is to be held until it is written: its traits
    may lie there. None where it is not plain, and `pipeline.validate.validate` has to be asked. It may name a
    placeholder of the project's own still."""
    memset(&plain.call, 0, sizeof(Call))
    memset(&plain.seen, 0, sizeof(Context))
    if plain.stamp.dialect.size and not equals(plain.stamp.dialect, b"segment", 7):
        return None
    if not _is_utf8_without_breaks(value):
        return None
    if not _read_call(<Text>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), &plain.call):
        return None
    if plain.call.context.at != NULL and not _read_context(plain.call.context.at, &plain.seen):
        return None
    if not _is_whole(plain) or not _read_instants(&plain.stamp, &plain.call, &plain.at):
        return None
    if _is_placeholder(plain.call.user_id) or _is_placeholder(plain.call.anonymous_id):
        return None
    if not _has_plain_context(&plain.stamp, &plain.call, &plain.seen):
        return None
    return value if plain.is_track or _stay_as_they_are(&plain.call) else _traits(&plain.call)


cdef bint _is_utf8_without_breaks(bytes value):
    cdef unsigned char found = special(<Text>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    if found & CONTROL:
        return False
    if found & NOT_ASCII:
        try:
            value.decode()
        except UnicodeDecodeError:
            return False
    return True


cdef bint _is_whole(PlainCall* plain) noexcept nogil:
    """Whether it is a track with a name of its own or an identify with a user, and somebody's."""
    cdef Call* call = &plain.call
    call.type = plain.stamp.call if plain.stamp.call.size else call.type
    if plain.stamp.message_id.size > _MAX_MESSAGE_ID or not (call.anonymous_id.size or call.user_id.size):
        return False
    plain.is_track = equals(call.type, b"track", 5)
    if plain.is_track:
        return call.event.size > 0 and call.event.at[0] != b"$"  # the reserved names begin so
    if not equals(call.type, b"identify", 8):
        return False
    return call.user_id.size > 0 and call.properties.at == NULL and not plain.seen.has_traits


cdef bint _read_instants(Stamp* stamp, Call* call, Instants* at) noexcept nogil:
    cdef Span happened = call.original_timestamp if call.original_timestamp.size else call.timestamp
    cdef Span sent = call.sent_at if call.sent_at.size else stamp.sent_at
    at.received, at.original, at.sent = stamp.received_at, _instant(happened), _instant(sent)
    at.happened = _corrected(at.received, at.sent, at.original)
    return (at.original != NONE or not happened.size) and (at.sent != NONE or not sent.size)


cdef bint _is_placeholder(Span id):
    """`pipeline.blocked.is_blocked`, which need not be asked of ids like a UUID: longer than placeholders are, with
    nothing around it that would be taken off, and not all zeros and dashes."""
    if not id.size:
        return False
    if id.size > _LONGEST and _is_letter_or_digit(id.at[0]) and _is_letter_or_digit(id.at[id.size - 1]):
        if id.at[id.size - 1] != ZERO and not special(id.at, id.size) & NOT_ASCII:
            return False
    return is_blocked(text_of(id))


cdef bint _is_letter_or_digit(unsigned char c) noexcept nogil:
    return b"0" <= c <= b"9" or b"a" <= c <= b"z" or b"A" <= c <= b"Z"


cdef bint _has_plain_context(Stamp* stamp, Call* call, Context* seen):
    """Whether what belongs into it beside what the client said can be put in front. Of the stamp and the call, the
    members that do not belong there are taken out."""
    if equals(stamp.key_kind, b"secret", 6) or seen.ip.size:
        stamp.ip.at = NULL
    if equals(stamp.key_kind, b"secret", 6) or seen.user_agent.size:
        stamp.user_agent.at = NULL
    for said in (text_of(seen.channel), text_of(call.channel)):
        if said is not None and said not in CHANNELS:
            return False
    if seen.channel.size or not call.channel.size:
        call.channel.at = NULL
    if (stamp.ip.at and seen.says_ip) or (stamp.user_agent.at and seen.says_user_agent):
        return False
    return not (call.channel.at and seen.says_channel)


cdef bytes _traits(Call* call):
    """The traits with what is missing in them filled in; None where there is something to warn of."""
    warnings = []
    given = EMPTY_OBJECT
    if call.traits.at:
        given = Raw(PyBytes_FromStringAndSize(<const char*>call.traits.at, call.traits.size))
    cdef bytes traits = bytes(person_traits(given, EMPTY_OBJECT, text_of(call.user_id), warnings))
    call.traits = Span(<Text>PyBytes_AS_STRING(traits), PyBytes_GET_SIZE(traits))
    return None if warnings else traits


cdef bint _stay_as_they_are(Call* call):
    """Whether `pipeline.traits.person_traits` certainly leaves the traits alone."""
    cdef Member m
    if memchr(call.user_id.at, b"@", call.user_id.size) != NULL:
        return False
    if call.traits.at == NULL:
        return True
    cdef Text p = into_object(call.traits.at)
    while p[0] != b"}":
        p = member(p, &m, 1)
        begins_with = _PLAIN_TRAITS.get(text_of(m.name)) if is_unknown(&m) else b""
        if begins_with is not None and m.value.at[0] not in begins_with:
            return False
    return True


cdef bytes write_plain(bytes value, PlainCall* plain, bytes stitched_user_id):
    """A record of `events.stitched`, in the order of the fields of `StitchedEvent`. `stitched_user_id` is JSON; None
    stands for the event's own user."""
    cdef Call* call = &plain.call
    cdef Py_ssize_t owner_size = PyBytes_GET_SIZE(stitched_user_id) if stitched_user_id is not None else 0
    # Of the call: its bytes as they are, its members, two of them again as session and stitched user, its context's.
    cdef Py_ssize_t most = 5 * PyBytes_GET_SIZE(value) + plain.stamp.size + call.traits.size + owner_size + AROUND
    cdef char* start = room_for(most)
    cdef char* p = start
    p = put_text(put(p, b'{"project_id":'), plain.stamp.project_id)
    p = put_text(put(p, b',"message_id":'), plain.stamp.message_id)
    p = put_text(put(p, b',"type":'), call.type)
    p = put(p, b',"event_name":')
    p = put_text(p, call.event) if plain.is_track else put(p, b'"$identify"')
    p = put_text(put(p, b',"anonymous_id":'), call.anonymous_id)
    p = put_text(put(p, b',"user_id":'), call.user_id)
    p = put(p, b',"stitched_user_id":')
    if stitched_user_id is None:
        p = put_text(p, call.user_id)
    else:
        p = put_bytes(p, <Text>PyBytes_AS_STRING(stitched_user_id), owner_size)
    p = _put_session(put(p, b',"session_id":'), call, &plain.seen, plain.at.happened)
    p = put_seconds(put(p, b',"timestamp":'), plain.at.happened)
    p = put_seconds(put(p, b',"original_timestamp":'), plain.at.original)
    p = put_seconds(put(p, b',"sent_at":'), plain.at.sent)
    p = put_seconds(put(p, b',"received_at":'), plain.at.received)
    p = put_object(put(p, b',"properties":'), call.properties)
    p = put_object(put(p, b',"traits":'), call.traits)
    p = _put_context(put(p, b',"context":'), &plain.stamp, call)
    p = put_object(put(p, b',"integrations":'), call.integrations)
    p = _put_library(put(p, b',"library":'), &plain.seen)
    p = put(p, b',"warnings":[],"raw":')
    p = put_bytes(p, <Text>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    p = put(p, b"}")
    return PyBytes_FromStringAndSize(start, p - start)


# What a call says.


cdef bint _read_call(Text p, Py_ssize_t size, Call* call) noexcept nogil:
    """Whether the call is plain, as far as its own members go."""
    cdef Text end = p + size
    cdef Member m
    cdef bint is_plain
    p = into_object(after_space(p))
    if p == NULL:
        return False
    while p[0] != b"}":
        p = member(p, &m, 1)
        if p == NULL:
            return False
        if equals(m.name, b"type", 4):
            is_plain = take_text(&m, &call.type)
        elif equals(m.name, b"event", 5):
            is_plain = take_text(&m, &call.event)
        elif equals(m.name, b"userId", 6):
            is_plain = take_text(&m, &call.user_id)
        elif equals(m.name, b"sentAt", 6):
            is_plain = take_text(&m, &call.sent_at)
        elif equals(m.name, b"traits", 6):
            is_plain = take_object(&m, &call.traits)
        elif equals(m.name, b"groupId", 7):
            is_plain = take_text(&m, &call.group_id)
        elif equals(m.name, b"channel", 7):
            is_plain = take_text(&m, &call.channel)
        elif equals(m.name, b"context", 7):
            is_plain = take_object(&m, &call.context)
        elif equals(m.name, b"timestamp", 9):
            is_plain = take_text(&m, &call.timestamp)
        elif equals(m.name, b"properties", 10):
            is_plain = take_object(&m, &call.properties)
        elif equals(m.name, b"anonymousId", 11):
            is_plain = take_text(&m, &call.anonymous_id)
        elif equals(m.name, b"integrations", 12):
            is_plain = take_object(&m, &call.integrations)
        elif equals(m.name, b"originalTimestamp", 17):
            is_plain = take_text(&m, &call.original_timestamp)
        else:
            is_plain = is_unknown(&m) and not equals(m.name, b"previousId", 10)
        if not is_plain:
            return False
    return after_space(p + 1) == end


cdef bint _read_context(Text p, Context* seen) noexcept nogil:
    """Whether the context is plain, an object that was read over already."""
    cdef Member m
    cdef bint is_plain
    p = into_object(p)
    while p[0] != b"}":
        p = member(p, &m, 1)
        if equals(m.name, b"ip", 2):
            seen.says_ip = True
            is_plain = take_text(&m, &seen.ip)
        elif equals(m.name, b"userAgent", 9):
            seen.says_user_agent = True
            is_plain = take_text(&m, &seen.user_agent)
        elif equals(m.name, b"channel", 7):
            seen.says_channel = True
            is_plain = take_text(&m, &seen.channel)
        elif equals(m.name, b"sessionId", 9):
            is_plain = take_text(&m, &seen.session_id)
        elif equals(m.name, b"library", 7):
            is_plain = m.value.at[0] == b"{" and _read_library(m.value.at, seen)
        elif equals(m.name, b"traits", 6):
            seen.has_traits = is_plain = True
        elif equals(m.name, b"active", 6):
            is_plain = m.value.at[0] == b"t" or m.value.at[0] == b"f"
        else:
            is_plain = is_unknown(&m)
        if not is_plain:
            return False
    return True


cdef bint _read_library(Text p, Context* seen) noexcept nogil:
    cdef Member m
    cdef bint is_plain
    seen.library_name = seen.library_version = Span(NULL, 0)
    p = into_object(p)
    while p[0] != b"}":
        p = member(p, &m, 1)
        if equals(m.name, b"name", 4):
            is_plain = take_text(&m, &seen.library_name)
        elif equals(m.name, b"version", 7):
            is_plain = take_text(&m, &seen.library_version)
        else:
            is_plain = is_unknown(&m)
        if not is_plain:
            return False
    return True


# Instants.


cdef long long _corrected(long long received, long long sent, long long original) noexcept nogil:
    """`pipeline.instants.corrected`."""
    if original == NONE:
        return received
    cdef long long happened = original if sent == NONE else received - sent + original
    return max(0, min(happened, received))


cdef long long _instant(Span text) noexcept nogil:
    """Unix milliseconds of `2026-01-31T12:34:56[.123[456]](Z|+01:00)`; NONE where it is not of that form, or not one
    that `pipeline.instants.read_instant` takes."""
    cdef Text p = text.at
    cdef int year, month, day, hour, minute, second, earlier, micros = 0, offset = 0
    cdef long long days, ms
    cdef Text end = p + text.size
    if text.size < 20 or p[4] != b"-" or p[7] != b"-" or p[10] != b"T" or p[13] != b":" or p[16] != b":":
        return NONE
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
            return NONE
        offset = 60 * _digits(p + 1, 2) + _digits(p + 4, 2)
        offset = -offset if p[0] == b"-" else offset
    elif end - p != 1 or p[0] != b"Z":
        return NONE
    if year < 1 or month < 1 or month > 12 or day < 1 or day > _days_in(year, month) or micros < 0:
        return NONE
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        return NONE
    days = 365 * (year - 1) + (year - 1) // 4 - (year - 1) // 100 + (year - 1) // 400 - 719162
    for earlier in range(1, month):
        days += _days_in(year, earlier)
    ms = (((days + day - 1) * 24 + hour) * 60 + minute - offset) * 60_000 + second * 1000 + (micros + 500) // 1000
    return ms if 0 <= ms <= _LATEST_MS else NONE


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


# What is written. Each of these goes to what is behind it.

cdef char* _room = NULL
cdef Py_ssize_t _room_size = 0


cdef char* room_for(Py_ssize_t size) except NULL:
    """Room of this module's own, which holds until it is asked for again."""
    global _room, _room_size
    if size > _room_size:
        _room = <char*>PyMem_Realloc(_room, size)
        if _room == NULL:
            _room_size = 0
            raise MemoryError
        _room_size = size
    return _room


cdef char* _put_session(char* p, Call* call, Context* seen, long long happened) noexcept nogil:
    """As `pipeline.session.session_of`, where the client does not say one."""
    if seen.session_id.size or not call.anonymous_id.size:
        return put_text(p, seen.session_id)
    p = put(put_bytes(put(p, b'"'), call.anonymous_id.at, call.anonymous_id.size), b"-")
    return put(put_number(p, happened // _SESSION_MS), b'"')


cdef char* _put_context(char* p, Stamp* stamp, Call* call) noexcept nogil:
    """The context with what belongs into it in front."""
    cdef bint is_empty = call.context.at == NULL or into_object(call.context.at)[0] == b"}"
    if call.channel.at == NULL and stamp.ip.at == NULL and stamp.user_agent.at == NULL:
        return put_object(p, call.context)
    p = put(p, b"{")
    if call.channel.at:
        p = put(put_said(put(p, b'"channel":'), call.channel), b",")
    if stamp.ip.at:
        p = put(put_said(put(p, b'"ip":'), stamp.ip), b",")
    if stamp.user_agent.at:
        p = put(put_said(put(p, b'"userAgent":'), stamp.user_agent), b",")
    if is_empty:
        return put(p - 1, b"}")
    return put_bytes(p, call.context.at + 1, call.context.size - 1)


cdef char* _put_library(char* p, Context* seen) noexcept nogil:
    if not seen.library_name.size or not seen.library_version.size:
        return put_text(p, seen.library_name)
    p = put(put_bytes(put(p, b'"'), seen.library_name.at, seen.library_name.size), b"/")
    return put(put_bytes(p, seen.library_version.at, seen.library_version.size), b'"')
