# cython: language_level=3, boundscheck=False, initializedcheck=False
"""Who is who in one project, as far as plain records of one batch say it: `pipeline.owners.ProjectOwners`, asked and
told in compiled code.

What a record says is kept as it lies there until somebody asks for what it may have changed, or `tell` is called. Then
it becomes a row of the table, where all that is known of the anonymous id are exact facts of one user, and elsewhere
points: only those that can make a difference. An owner that is known for any moment is asked for once. The records must
be held meanwhile, and nobody else may tell `ProjectOwners` anything.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdlib cimport qsort
from libc.string cimport memcpy, memset

from pipeline.plain_fact cimport KEPT, MOST_KEPT, Ends, Fact, by_moment, first_of_each_moment, keep, kept_facts
from pipeline.plain_json cimport NONE, Span, equals, text_of
from pipeline.plain_row cimport exact_facts, is_of_one_user, row_of_facts
from pipeline.plain_write cimport put_said

from os import urandom

from msgspec import UNSET
from msgspec.json import Encoder

from pipeline.identity import IMPLICIT_BUCKET_S, KEPT_AT_EACH_END, Point

cdef enum:
    FEWEST_SLOTS = 16
    FEWEST_FACTS = 64

cdef object _as_json = Encoder().encode
cdef bytes _NOBODY = b"null"
cdef int64_t _BUCKET_MS = IMPLICIT_BUCKET_S * 1000
assert KEPT == KEPT_AT_EACH_END
cdef uint64_t _SEED = int.from_bytes(urandom(8), "big")  # nobody can choose ids that meet in the table

cdef extern from *:
    """
    static inline uint64_t mixed(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)(product >> 64) ^ (uint64_t)product;
    }
    """
    uint64_t mixed(uint64_t a, uint64_t b) noexcept nogil


cdef class PlainOwners:
    def __cinit__(self, of_project):
        rules = of_project.rules
        self.of_project, self.blocked_ids, self.links_implicitly = of_project, rules.blocked_ids, rules.implicit_links
        self._max_users = rules.max_users
        self._kept = []
        self._make_room(FEWEST_SLOTS)

    def __dealloc__(self):
        PyMem_Free(self._devices)
        PyMem_Free(self._in_slots)
        PyMem_Free(self._facts)

    cdef int learn(self, PlainCall* plain) except -1:
        """Keep what an event with both ids says."""
        cdef Device* device = self._device(plain.call.anonymous_id)
        cdef Fact* fact = self._new_fact()
        fact.happened, fact.is_implicit = plain.at.happened, plain.is_track
        fact.message_id, fact.user_id = plain.stamp.message_id, plain.call.user_id
        fact.before = device.newest_fact
        device.newest_fact = self._fact_count - 1
        device.facts += 1
        if device.owner != NULL and not _is_owner(<bytes>device.owner, fact.user_id):
            device.owner = NULL
        return 0

    cdef bytes owner_of(self, PlainCall* plain):
        """As JSON, who did an anonymous event."""
        cdef Device* device = self._device(plain.call.anonymous_id)
        if device.owner != NULL:
            return <bytes>device.owner
        owner = self._only_owner(device)
        if owner is None:
            self._tell_of(device)
            anonymous_id, message_id = text_of(plain.call.anonymous_id), text_of(plain.stamp.message_id)
            owner = _as_json(self.of_project.owner_at(anonymous_id, plain.at.happened / 1000.0, message_id))
            if self.of_project.always[anonymous_id] is UNSET:
                return owner
        self._kept.append(owner)
        device.owner = <PyObject*>owner
        return owner

    cdef bytes _only_owner(self, Device* device):
        """As JSON, who did any event of a device that is nobody's, or one user's alone by its row in the table and by
        what was learnt; None where it may be neither."""
        cdef Span user_id = Span(NULL, 0)
        cdef Fact* fact
        cdef Py_ssize_t at, next_fact = device.newest_fact
        row = self.of_project.row_of(text_of(device.anonymous_id))
        if row is UNSET or self._max_users < 2 or row and not is_of_one_user(row, &user_id):
            return None
        for at in range(device.facts):
            fact = &self._facts[next_fact]
            if user_id.at == NULL:
                user_id = fact.user_id
            if not equals(fact.user_id, <const char*>user_id.at, user_id.size):
                return None
            next_fact = fact.before
        return _NOBODY if user_id.at == NULL else _quoted(user_id)

    cdef int tell(self) except -1:
        """Of all that was learnt. After it `ProjectOwners` may be asked and told by others, and this is of no more use."""
        cdef Py_ssize_t at
        for at in range(self._device_count):
            self._tell_of(&self._devices[at])
        return 0

    cdef int _tell_of(self, Device* device) except -1:
        if device.facts:
            if not self._tell_row(device):
                self.of_project.learn_points(text_of(device.anonymous_id), self._points_of(device))
            device.facts = 0
        return 0

    cdef bint _tell_row(self, Device* device) except -1:
        """Its facts as a row of the table; False where not all that is known of it are exact facts of one user."""
        cdef Span user_id = self._facts[device.newest_fact].user_id, owner = Span(NULL, 0)
        cdef Fact[MOST_KEPT] stored
        cdef Fact* kept[MOST_KEPT]
        cdef Ends ends
        cdef int at
        ends.earliest_count = ends.latest_count = 0
        anonymous_id = text_of(device.anonymous_id)
        row = self.of_project.row_of(anonymous_id)
        if row is UNSET or self._max_users < 2 or not self._keep_exact(device, user_id, &ends):
            return False
        if row:
            if not is_of_one_user(row, &owner) or not equals(owner, <const char*>user_id.at, user_id.size):
                return False
            count = exact_facts(row, stored)
            if count == NONE:
                return False
            for at in range(count):
                keep(&ends, &stored[at])
        after = row_of_facts(kept, kept_facts(&ends, kept))
        if after != row:
            self.of_project.put_row(anonymous_id, after)
        return True

    cdef bint _keep_exact(self, Device* device, Span user_id, Ends* ends) except -1:
        """Whether all of its facts are exact and of this user."""
        cdef Fact* fact
        cdef Py_ssize_t at, next_fact = device.newest_fact
        for at in range(device.facts):
            fact = &self._facts[next_fact]
            if fact.is_implicit or not equals(fact.user_id, <const char*>user_id.at, user_id.size):
                return False
            keep(ends, fact)
            next_fact = fact.before
        return True

    cdef list _points_of(self, Device* device):
        """The points that its facts become."""
        cdef Fact** facts = <Fact**>PyMem_Malloc(device.facts * sizeof(Fact*))
        cdef Py_ssize_t at, next_fact = device.newest_fact
        if facts == NULL:
            raise MemoryError
        for at in range(device.facts):
            facts[at] = &self._facts[next_fact]
            next_fact = facts[at].before
        try:
            qsort(facts, device.facts, sizeof(Fact*), by_moment)
            return _points(facts, first_of_each_moment(facts, device.facts))
        finally:
            PyMem_Free(facts)

    cdef Device* _device(self, Span anonymous_id) except NULL:
        """That of the id, which is new where it was not known. Mostly that of the event before, as clients send what
        one device did together."""
        cdef Device* device = &self._devices[self._latest_device]
        cdef uint64_t hash
        cdef Py_ssize_t slot
        if self._device_count and _is_of(anonymous_id, device):
            return device
        hash = _hash(anonymous_id)
        slot = hash & (self._slots - 1)
        while self._in_slots[slot]:
            self._latest_device = self._in_slots[slot] - 1
            device = &self._devices[self._latest_device]
            if device.hash == hash and _is_of(anonymous_id, device):
                return device
            slot = slot + 1 & self._slots - 1
        if 2 * self._device_count == self._slots:
            self._make_room(4 * self._slots)
            return self._device(anonymous_id)
        self._latest_device = self._device_count
        device = &self._devices[self._latest_device]
        memset(device, 0, sizeof(Device))
        device.anonymous_id, device.hash = anonymous_id, hash
        self._device_count += 1
        self._in_slots[slot] = self._device_count
        return device

    cdef int _make_room(self, Py_ssize_t slots) except -1:
        cdef Py_ssize_t at, slot
        cdef Device* devices = <Device*>PyMem_Realloc(self._devices, slots // 2 * sizeof(Device))
        if devices == NULL:
            raise MemoryError
        self._devices = devices
        PyMem_Free(self._in_slots)
        self._in_slots = <int*>PyMem_Calloc(slots, sizeof(int))
        if self._in_slots == NULL:
            raise MemoryError
        self._slots = slots
        for at in range(self._device_count):
            slot = devices[at].hash & (slots - 1)
            while self._in_slots[slot]:
                slot = slot + 1 & slots - 1
            self._in_slots[slot] = at + 1
        return 0

    cdef Fact* _new_fact(self) except NULL:
        cdef Py_ssize_t room = max(FEWEST_FACTS, 2 * self._fact_room)
        cdef Fact* facts
        if self._fact_count == self._fact_room:
            facts = <Fact*>PyMem_Realloc(self._facts, room * sizeof(Fact))
            if facts == NULL:
                raise MemoryError
            self._facts, self._fact_room = facts, room
        self._fact_count += 1
        return &self._facts[self._fact_count - 1]


cdef bint _is_of(Span anonymous_id, Device* device) noexcept nogil:
    return equals(anonymous_id, <const char*>device.anonymous_id.at, device.anonymous_id.size)


cdef list _points(Fact** facts, Py_ssize_t count):
    """`pipeline.identity.point_of` of each. Where all are of one user, those are left out that `with_points` would not
    keep, whatever it has: exact ones with enough of them on either side, and implicit ones behind one of their bucket."""
    cdef Fact* fact
    cdef Fact* implicit = NULL
    cdef Py_ssize_t at, exact = 0, all_exact = 0
    cdef bint is_of_one_user = True
    cdef list points = []
    for at in range(count):
        all_exact += not facts[at].is_implicit
        is_of_one_user &= equals(facts[at].user_id, <const char*>facts[0].user_id.at, facts[0].user_id.size)
    user_id = text_of(facts[0].user_id)
    for at in range(count):
        fact = facts[at]
        if not is_of_one_user:
            user_id = text_of(fact.user_id)
        elif not fact.is_implicit:
            exact += 1
            if KEPT < exact <= all_exact - KEPT:
                continue
        elif implicit != NULL and _bucket(implicit) == _bucket(fact):
            continue
        else:
            implicit = fact
        points.append(Point(fact.happened / 1000.0, text_of(fact.message_id), user_id, fact.is_implicit))
    return points


cdef bytes _quoted(Span user_id):
    cdef bytes owner = PyBytes_FromStringAndSize(NULL, user_id.size + 2)
    put_said(PyBytes_AS_STRING(owner), user_id)
    return owner


cdef bint _is_owner(bytes owner, Span user_id):
    """Whether JSON is a user's name. Where that is escaped, it may be and yet not be told; null is nobody's."""
    cdef const char* text = PyBytes_AS_STRING(owner)
    return text[0] == b'"' and equals(user_id, text + 1, PyBytes_GET_SIZE(owner) - 2)


cdef int64_t _bucket(Fact* fact) noexcept:
    return fact.happened // _BUCKET_MS


cdef uint64_t _hash(Span text) noexcept nogil:
    cdef uint64_t hash = _SEED ^ <uint64_t>text.size, word
    cdef Py_ssize_t at = 0
    while at < text.size:
        word = 0
        memcpy(&word, text.at + at, min(<Py_ssize_t>sizeof(word), text.size - at))
        hash = mixed(hash ^ word, <uint64_t>0x9E3779B97F4A7C15)
        at += sizeof(word)
    return hash
