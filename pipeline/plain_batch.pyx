# cython: language_level=3, boundscheck=False, initializedcheck=False
"""Plain records of a batch, taken from raw to stitched one by one in compiled code: what `pipeline.stitch` does with
any record, in a third of the instructions.

It says of no record what it is worth that `pipeline.stitch` would not say: where it cannot tell, it stops in front of
it. State is asked and told through the same `Claims` and `ProjectOwners`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Contains, PyDict_GetItem
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.string cimport memcmp, memcpy

from pipeline.dialects.segment_plain cimport PlainCall, read_plain, room_for, write_plain
from pipeline.plain_json cimport Span, equals, text_of
from pipeline.plain_stamp cimport Stamp, stamp_of
from pipeline.plain_write cimport put, put_seconds, put_text

from msgspec import UNSET
from msgspec.json import Encoder

from pipeline.blocked import is_blocked
from pipeline.dedupe import NOTHING_HASHED
from pipeline.validate import SYNTHETIC_PREFIX
from topics.links import EXACT, IMPLICIT, LinkFact
from topics.raw import STAMP_HEADER

cdef enum:
    AROUND = 256  # more than the names in a fact and its instants take

cdef bytes _SYNTHETIC = SYNTHETIC_PREFIX.encode()
cdef bytes _NOBODY = b"null"
cdef object _as_json = Encoder().encode
# Taken from the type once: to ask an object for its method costs as much as to call it.
cdef object _copy = type(NOTHING_HASHED).copy, _update = type(NOTHING_HASHED).update, _digest = type(NOTHING_HASHED).digest


cdef class PlainBatch:
    cdef list _records
    cdef list _headers  # what the stamps lie in
    cdef Stamp* _stamps  # of size 0 where a record's is not plain
    cdef Py_ssize_t _max_event_bytes
    cdef Span _project_text  # of the record before
    cdef object _claims, _owners, _project_id, _project, _further
    cdef list _ids, _known, _received_at
    cdef dict _claimed, _always
    cdef bint _links_implicitly

    def __cinit__(self, records, Py_ssize_t max_event_bytes):
        cdef Py_ssize_t row
        self._records = records if type(records) is list else list(records)
        self._max_event_bytes = max_event_bytes
        self._headers = []
        self._stamps = <Stamp*>PyMem_Malloc(len(self._records) * sizeof(Stamp))
        if self._stamps == NULL:
            raise MemoryError
        for row, record in enumerate(self._records):
            headers = record.headers
            self._headers.append(headers)
            if not stamp_of(headers, STAMP_HEADER, &self._stamps[row]):
                self._stamps[row].size = 0

    def __dealloc__(self):
        PyMem_Free(self._stamps)

    def receipts(self):
        cdef list ids = [], received_at = [], untold = []
        cdef Py_ssize_t row
        for row in range(len(self._records)):
            if self._stamps[row].size:
                ids.append(_seen_id(&self._stamps[row]))
                received_at.append(self._stamps[row].received_at / 1000.0)
            else:
                ids.append(b"")
                received_at.append(0.0)
                untold.append(row)
        return ids, received_at, untold

    def take(self, Py_ssize_t row, claims, owners, decision):
        cdef PlainCall plain
        cdef list stitched = decision.stitched, links = decision.links
        cdef int duplicates = 0
        self._owners = owners
        self._claim_of(claims)
        while row < len(self._records):
            record = self._records[row]
            value = record.value
            held = self._read(value, row, &plain)
            if held is None:
                break
            # Step 1. Claim its id.
            if self._claim(row):
                # Step 2. Take in what it says of who is who, or ask who did it.
                owner = self._owner(record, &plain, links)
                # Step 3. Write it.
                stitched.append((record.key, write_plain(value, &plain, owner), record.timestamp, ()))
            else:
                duplicates += 1
            row += 1
        decision.duplicates += duplicates
        return row

    cdef bytes _read(self, value, Py_ssize_t row, PlainCall* plain):
        """As `read_plain`."""
        if not self._stamps[row].size or type(value) is not bytes or len(value) > self._max_event_bytes:
            return None
        plain.stamp = self._stamps[row]
        held = read_plain(value, plain)
        if held is None or self._owners is None:
            return held
        self._go_to_project(plain.stamp.project_id)
        return None if self._further and self._names_a_placeholder(plain) else held

    cdef bint _names_a_placeholder(self, PlainCall* plain):
        """Of the project's own."""
        for text in (text_of(plain.call.user_id), text_of(plain.call.anonymous_id)):
            if text is not None and is_blocked(text, self._further):
                return True
        return False

    cdef int _go_to_project(self, Span project_id) except -1:
        cdef Span before = self._project_text
        if self._project is not None and equals(project_id, <const char*>before.at, before.size):
            return 0
        self._project_text = project_id
        self._project_id = text_of(project_id)
        self._project = self._owners.of(self._project_id)
        self._always = self._project.always
        self._further = self._project.rules.blocked_ids
        self._links_implicitly = self._project.rules.implicit_links
        return 0

    cdef int _claim_of(self, claims) except -1:
        self._claims = claims
        if claims is not None:
            self._ids, self._received_at = claims.ids, claims.received_at
            self._known, self._claimed = claims.known, claims.claimed
        return 0

    cdef bint _claim(self, Py_ssize_t row):
        """`Claims.claim`, which need not be asked of an id that is certainly new."""
        if self._claims is None:
            return True
        if self._known[row] is True or PyDict_Contains(self._claimed, self._ids[row]):
            return self._claims.claim(row)
        self._claimed[self._ids[row]] = self._received_at[row]
        return True

    cdef bytes _owner(self, record, PlainCall* plain, list links):
        """As JSON, who did an event without a user; None where it has one."""
        if plain.call.user_id.size:
            if self._owners is not None:
                self._take_in(record, plain, links)
            return None
        return _NOBODY if self._owners is None else self._known_owner(plain)

    cdef int _take_in(self, record, PlainCall* plain, list links) except -1:
        """`pipeline.evidence.evidence` of an event with a user, published and kept."""
        cdef Span anonymous_id = plain.call.anonymous_id
        if not anonymous_id.size or _is_synthetic(anonymous_id) or plain.is_track and not self._links_implicitly:
            return 0
        links.append((record.key, _written_link(plain), record.timestamp, ()))
        self._project.learn(
            LinkFact(
                self._project_id,
                text_of(anonymous_id),
                text_of(plain.call.user_id),
                plain.at.happened / 1000.0,
                text_of(plain.stamp.message_id),
                IMPLICIT if plain.is_track else EXACT,
                plain.at.received / 1000.0,
            )
        )
        return 0

    cdef bytes _known_owner(self, PlainCall* plain):
        anonymous_id = text_of(plain.call.anonymous_id)
        cdef PyObject* found = PyDict_GetItem(self._always, anonymous_id)
        if found != NULL and <object>found is not UNSET:
            owner = <object>found
        else:
            owner = self._project.owner_at(anonymous_id, plain.at.happened / 1000.0, text_of(plain.stamp.message_id))
        return _NOBODY if owner is None else _as_json(owner)


cdef bytes _written_link(PlainCall* plain):
    """`topics.links.encode`."""
    cdef char* start = room_for(plain.stamp.size + plain.call.anonymous_id.size + plain.call.user_id.size + AROUND)
    cdef char* p = start
    p = put_text(put(p, b'{"project_id":'), plain.stamp.project_id)
    p = put_text(put(p, b',"anonymous_id":'), plain.call.anonymous_id)
    p = put_text(put(p, b',"user_id":'), plain.call.user_id)
    p = put_seconds(put(p, b',"timestamp":'), plain.at.happened)
    p = put_text(put(p, b',"message_id":'), plain.stamp.message_id)
    p = put(put(p, b',"kind":'), b'"implicit"' if plain.is_track else b'"exact"')
    p = put_seconds(put(p, b',"received_at":'), plain.at.received)
    p = put(p, b"}")
    return PyBytes_FromStringAndSize(start, p - start)


cdef bint _is_synthetic(Span anonymous_id) noexcept:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(_SYNTHETIC)
    return anonymous_id.size >= size and memcmp(anonymous_id.at, PyBytes_AS_STRING(_SYNTHETIC), size) == 0


cdef object _seen_id(Stamp* stamp):
    """`pipeline.dedupe.seen_id`."""
    cdef Py_ssize_t before = stamp.project_id.size
    cdef bytes text = PyBytes_FromStringAndSize(NULL, before + 1 + stamp.message_id.size)
    cdef char* p = PyBytes_AS_STRING(text)
    memcpy(p, stamp.project_id.at, before)
    p[before] = 0
    memcpy(p + before + 1, stamp.message_id.at, stamp.message_id.size)
    hashed = _copy(NOTHING_HASHED)
    _update(hashed, text)
    return _digest(hashed)
