# cython: language_level=3

from pipeline.plain_json cimport Span
from pipeline.plain_stamp cimport Stamp

cdef struct Call:
    Span type, user_id, anonymous_id, event, group_id, timestamp, original_timestamp, sent_at, channel
    Span properties, traits, context, integrations

cdef struct Context:
    Span ip, user_agent, channel, session_id, library_name, library_version
    bint says_ip, says_user_agent, says_channel, has_traits

cdef struct Instants:
    long long happened, original, sent, received  # Unix milliseconds, or NONE

cdef struct PlainCall:  # its texts lie in the record's value, in the header that holds the stamp, and in `read_plain`'s
    Stamp stamp
    Call call
    Context seen
    Instants at
    bint is_track  # an identify otherwise

cdef bytes read_plain(bytes value, PlainCall* plain)
cdef bytes write_plain(bytes value, PlainCall* plain, bytes stitched_user_id)
cdef char* room_for(Py_ssize_t size) except NULL
