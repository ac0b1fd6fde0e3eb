# cython: language_level=3, boundscheck=False, initializedcheck=False
"""Plain records of a batch, taken from raw to stitched one by one in compiled code: what `pipeline.stitch` does with
any record, in a third of the instructions.

It says of no record what it is worth that `pipeline.stitch` would not say: where it cannot tell, it stops in front of
it. State is asked and told through the same `Claims`, and through the same `ProjectOwners`, which is told all once it
stops (`pipeline/plain_owners.pyx`).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from pipeline.blake2b cimport BLOCK, LONGEST, blake2b_of_blocks, blake2b_of_padded
from pipeline.dialects.segment_plain cimport PlainCall, read_plain, write_plain
from pipeline.plain_json cimport Span, equals, text_of
from pipeline.plain_owners cimport PlainOwners
from pipeline.plain_stamp cimport Stamp, stamp_of
from pipeline.plain_write cimport put, put_seconds, put_text
from pipeline.row_table cimport RowTable

from pipeline.blocked import is_blocked
from pipeline.receipts import Receipts
from pipeline.validate import SYNTHETIC_PREFIX
from topics.raw import STAMP_HEADER

cdef enum:
    AROUND = 256  # more than the names in a fact and its instants take
    AT_ONCE = 4
    ROOM = AT_ONCE * BLOCK

cdef struct Blocks:  # the texts of ids that are hashed together
    unsigned char[ROOM] texts
    uint64_t[AT_ONCE] sizes
    Py_ssize_t[AT_ONCE] rows
    int count

cdef bytes _SYNTHETIC = SYNTHETIC_PREFIX.encode()
cdef bytes _NOBODY = b"null"

cdef extern from *:
    uint64_t byteswapped "__builtin_bswap64"(uint64_t word) noexcept nogil


cdef class PlainBatch:
    cdef list _records
    cdef list _headers  # what the stamps lie in
    cdef Stamp* _stamps  # of size 0 where a record's is not plain
    cdef Py_ssize_t _max_event_bytes
    cdef Span _project_text  # of the record before
    cdef object _owners  # None where there is no identity
    cdef dict _projects  # PlainOwners by project
    cdef PlainOwners _project
    cdef list _link_keys, _link_timestamps
    cdef char* _links  # as lines
    cdef Py_ssize_t _links_size, _links_room
    cdef RowTable _claimed  # None where there is no dedupe
    cdef const uint8_t[::1] _known

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
        PyMem_Free(self._links)

    def receipts(self):
        told, untold = Receipts.blank(len(self._records)), []
        cdef uint64_t[::1] high = told.high, low = told.low
        cdef int64_t[::1] received_at_ms = told.received_at_ms
        cdef Py_ssize_t row
        cdef Blocks blocks
        memset(&blocks, 0, sizeof(Blocks))
        for row in range(len(self._records)):
            if self._stamps[row].size and _hash(&self._stamps[row], row, &blocks, high, low):
                received_at_ms[row] = self._stamps[row].received_at
            else:
                untold.append(row)
        _hash_blocks(&blocks, high, low)
        return told, untold

    def take(self, Py_ssize_t row, claims, owners, decision):
        cdef PlainOwners project
        self._owners, self._projects, self._project = owners, {}, None
        self._link_keys, self._link_timestamps, self._links_size = [], [], 0
        self._claim_of(claims)
        row = self._take(row, decision)
        if self._link_keys:
            text = PyBytes_FromStringAndSize(self._links, self._links_size)
            decision.links.extend(text, self._link_keys, self._link_timestamps)
        for project in self._projects.values():
            project.tell()
        return row

    cdef Py_ssize_t _take(self, Py_ssize_t row, decision) except -1:
        cdef PlainCall plain
        cdef list stitched = decision.stitched
        cdef int duplicates = 0
        while row < len(self._records):
            record = self._records[row]
            value = record.value
            held = self._read(value, row, &plain)
            if held is None:
                break
            # Step 1. Claim its id.
            if self._claim(row):
                key, timestamp = record.key, record.timestamp
                # Step 2. Take in what it says of who is who, or ask who did it.
                owner = self._owner(key, timestamp, &plain)
                # Step 3. Write it.
                stitched.append((key, write_plain(value, &plain, owner), timestamp, ()))
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
        return None if self._project.blocked_ids and self._names_a_placeholder(plain) else held

    cdef bint _names_a_placeholder(self, PlainCall* plain):
        """Of the project's own."""
        for text in (text_of(plain.call.user_id), text_of(plain.call.anonymous_id)):
            if text is not None and is_blocked(text, self._project.blocked_ids):
                return True
        return False

    cdef int _go_to_project(self, Span project_id) except -1:
        cdef Span before = self._project_text
        if self._project is not None and equals(project_id, <const char*>before.at, before.size):
            return 0
        self._project_text = project_id
        name = text_of(project_id)
        self._project = self._projects.get(name)
        if self._project is None:
            self._project = self._projects[name] = PlainOwners(self._owners.of(name))
        return 0

    cdef int _claim_of(self, claims) except -1:
        if claims is not None:
            self._claimed, self._known = claims.claimed, claims.known
        return 0

    cdef bint _claim(self, Py_ssize_t row) except -1:
        """`Claims.claim`."""
        return self._claimed is None or not self._known[row] and self._claimed.claim(row)

    cdef bytes _owner(self, key, timestamp, PlainCall* plain):
        """As JSON, who did an event without a user; None where it has one."""
        if plain.call.user_id.size:
            if self._owners is not None:
                self._take_in(key, timestamp, plain)
            return None
        return _NOBODY if self._owners is None else self._project.owner_of(plain)

    cdef int _take_in(self, key, timestamp, PlainCall* plain) except -1:
        """`pipeline.evidence.evidence` of an event with a user, published and kept."""
        cdef Span anonymous_id = plain.call.anonymous_id
        if not anonymous_id.size or _is_synthetic(anonymous_id) or plain.is_track and not self._project.links_implicitly:
            return 0
        self._link_keys.append(key)
        self._link_timestamps.append(timestamp)
        self._write_link(plain)
        self._project.learn(plain)
        return 0

    cdef int _write_link(self, PlainCall* plain) except -1:
        """`topics.links.encode`, behind those before."""
        cdef char* p = self._room_for_link(
            plain.stamp.size + plain.call.anonymous_id.size + plain.call.user_id.size + AROUND
        )
        p = put_text(put(p, b'{"project_id":'), plain.stamp.project_id)
        p = put_text(put(p, b',"anonymous_id":'), plain.call.anonymous_id)
        p = put_text(put(p, b',"user_id":'), plain.call.user_id)
        p = put_seconds(put(p, b',"timestamp":'), plain.at.happened)
        p = put_text(put(p, b',"message_id":'), plain.stamp.message_id)
        p = put(put(p, b',"kind":'), b'"implicit"' if plain.is_track else b'"exact"')
        p = put_seconds(put(p, b',"received_at":'), plain.at.received)
        self._links_size = put(p, b"}\n") - self._links
        return 0

    cdef char* _room_for_link(self, Py_ssize_t most) except NULL:
        cdef Py_ssize_t room = 2 * self._links_room + most
        cdef char* links
        if self._links_size + most > self._links_room:
            links = <char*>PyMem_Realloc(self._links, room)
            if links == NULL:
                raise MemoryError
            self._links, self._links_room = links, room
        return self._links + self._links_size


cdef bint _is_synthetic(Span anonymous_id) noexcept:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(_SYNTHETIC)
    return anonymous_id.size >= size and memcmp(anonymous_id.at, PyBytes_AS_STRING(_SYNTHETIC), size) == 0


cdef bint _hash(Stamp* stamp, Py_ssize_t row, Blocks* blocks, uint64_t[::1] high, uint64_t[::1] low) noexcept:
    """`pipeline.dedupe.seen_id` of a row, at once or together with others; False where its text is too long."""
    cdef Py_ssize_t size = stamp.project_id.size + 1 + stamp.message_id.size
    cdef unsigned char[LONGEST] text
    cdef uint64_t[2] digest
    if size > LONGEST:
        return False
    if size > BLOCK:
        _write_id_text(text, stamp, size)
        blake2b_of_padded(text, size, digest)
        high[row], low[row] = byteswapped(digest[0]), byteswapped(digest[1])
        return True
    _write_id_text(&blocks.texts[blocks.count * BLOCK], stamp, size)
    blocks.sizes[blocks.count], blocks.rows[blocks.count] = size, row
    blocks.count += 1
    if blocks.count == AT_ONCE:
        _hash_blocks(blocks, high, low)
    return True


cdef void _hash_blocks(Blocks* blocks, uint64_t[::1] high, uint64_t[::1] low) noexcept:
    cdef uint64_t[2 * AT_ONCE] digests
    cdef int at
    blake2b_of_blocks(blocks.texts, blocks.sizes, digests)
    for at in range(blocks.count):
        high[blocks.rows[at]], low[blocks.rows[at]] = byteswapped(digests[2 * at]), byteswapped(digests[2 * at + 1])
    blocks.count = 0


cdef void _write_id_text(unsigned char* text, Stamp* stamp, Py_ssize_t size) noexcept:
    """`pipeline.dedupe.id_text`, filled up with zeros to whole blocks."""
    memcpy(text, stamp.project_id.at, stamp.project_id.size)
    text[stamp.project_id.size] = 0
    memcpy(text + stamp.project_id.size + 1, stamp.message_id.at, stamp.message_id.size)
    memset(text + size, 0, -size & BLOCK - 1)
