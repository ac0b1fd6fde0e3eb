# cython: language_level=3, boundscheck=False, initializedcheck=False, cdivision=True
"""Kafka's records within a record batch, to bytes and back in one pass: in half of the instructions of aiokafka's own
builder and a quarter of those of its reader, which say what comes out.

The format is that of `https://kafka.apache.org/documentation/#record`: numbers as zigzag varints, -1 as the length of
what is null. Functions over bytes are `nogil`, so that the compiler refuses a Python object in them.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.string cimport memcmp, memcpy, strchr

cimport cython

from topics.lines import Lines

cdef tuple _NO_HEADERS = ()

ctypedef const unsigned char* Text

cdef enum:
    AHEAD = 4  # records

cdef extern from *:
    void fetch "__builtin_prefetch"(const void* address) noexcept nogil

cdef struct Parts:  # of a record that is to be written
    Py_ssize_t size
    Text key, value
    Py_ssize_t key_size, value_size  # -1 where it is null
    long long timestamp
    PyObject* headers

cdef struct Reading:
    Text at  # NULL once something could not be read
    Text end


@cython.no_gc
@cython.final
cdef class LightRecord:
    """What an aiokafka `ConsumerRecord` is."""

    cdef readonly str topic
    cdef readonly int partition
    cdef readonly long long offset
    cdef readonly long long timestamp
    cdef readonly int timestamp_type
    cdef readonly bytes key
    cdef readonly bytes value
    cdef readonly tuple headers

    checksum = None

    @property
    def serialized_key_size(self):
        return -1 if self.key is None else len(self.key)

    @property
    def serialized_value_size(self):
        return -1 if self.value is None else len(self.value)


def encode_records(records, Py_ssize_t start, Py_ssize_t room):
    """As many records from `start` on as take less than `room` bytes, but one at least; how many they are, and the
    first and the latest timestamp of them. Offsets and timestamps are written as what they are behind the first."""
    cdef bint are_lines = type(records) is Lines
    cdef list those = records.keys if are_lines else records if type(records) is list else list(records)
    cdef list timestamps = records.timestamps_ms if are_lines else None
    cdef bytes text = records.text if are_lines else None
    cdef Text line = _line_at(text, start) if are_lines else NULL
    cdef Py_ssize_t size = 0, count = 0, offset, added
    cdef long long first, latest
    cdef Parts* parts = <Parts*>PyMem_Malloc((len(those) - start) * sizeof(Parts))
    cdef Parts* part
    cdef unsigned char* p
    if parts == NULL:
        raise MemoryError
    try:
        while start + count < len(those):
            part = &parts[count]
            if are_lines:
                line = _read_line(line, those[start + count], timestamps[start + count], part)
            else:
                _fetch_ahead(those, start + count)
                _read_tuple(<tuple?>those[start + count], part)
            part.size = _size_of(part, part.timestamp - parts[0].timestamp, count)
            added = part.size + _varint_size(part.size)
            if count and size + added >= room:
                break
            size += added
            count += 1
        body = PyBytes_FromStringAndSize(NULL, size)
        p = <unsigned char*>PyBytes_AS_STRING(body)
        first = latest = parts[0].timestamp
        for offset in range(count):
            p = _put_record(p, &parts[offset], parts[offset].timestamp - first, offset)
            latest = max(latest, parts[offset].timestamp)
    finally:
        PyMem_Free(parts)
    return body, count, first, latest


def decode_records(
    body, Py_ssize_t count, str topic, int partition, long long first_offset, long long first_timestamp,
    long long appended_at,
):
    """The records of a body, whose offsets and timestamps are behind these; where `appended_at` is not -1, the broker
    gave them all that timestamp. Raises ValueError where the body is not just that."""
    cdef Py_buffer view
    cdef Reading r
    cdef Py_ssize_t n
    cdef list records = []
    PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
    try:
        r.at = <Text>view.buf
        r.end = r.at + view.len
        for n in range(count):
            record = _record(&r, topic, partition, first_offset, first_timestamp, appended_at)
            if record is None:
                raise ValueError(f"record {n} of {count} cannot be read")
            records.append(record)
        if r.at != r.end:
            raise ValueError(f"{r.end - r.at} bytes behind the last of {count} records")
    finally:
        PyBuffer_Release(&view)
    return records


# What is written.


cdef void _fetch_ahead(list records, Py_ssize_t at) noexcept:
    """Have the processor fetch what will be written soon. A record was made a whole batch ago, so it is in no cache,
    and to wait for one part of it after the other would cost more than to write them."""
    if at + 2 * AHEAD >= len(records):
        return
    fetch(<PyObject*>PyList_GET_ITEM(records, at + 2 * AHEAD))
    record = records[at + AHEAD]
    if PyTuple_CheckExact(record) and len(<tuple>record) == 4:
        fetch(<PyObject*>PyTuple_GET_ITEM(record, 0))
        fetch(<PyObject*>PyTuple_GET_ITEM(record, 1))


cdef int _read_tuple(tuple record, Parts* part) except -1:
    cdef tuple headers
    key, value, part.timestamp, headers = record
    _read_bytes(key, &part.key, &part.key_size)
    _read_bytes(value, &part.value, &part.value_size)
    part.headers = <PyObject*>headers
    return 0


cdef Text _read_line(Text line, bytes key, long long timestamp, Parts* part) except NULL:
    """To the line behind it."""
    cdef Text end = _end_of(line)
    _read_bytes(key, &part.key, &part.key_size)
    part.value, part.value_size = line, end - line
    part.timestamp, part.headers = timestamp, <PyObject*>_NO_HEADERS
    return end + 1


cdef Text _line_at(bytes text, Py_ssize_t row) except NULL:
    cdef Text line = <Text>PyBytes_AS_STRING(text)
    for _ in range(row):
        line = _end_of(line) + 1
    return line


cdef Text _end_of(Text line) except NULL:
    """Its line break."""
    cdef Text end = <Text>strchr(<const char*>line, b"\n")
    if end == NULL:
        raise ValueError("there are more keys than lines")
    return end


cdef int _read_bytes(bytes given, Text* at, Py_ssize_t* size) except -1:
    if given is None:
        at[0], size[0] = NULL, -1
    else:
        at[0], size[0] = <Text>PyBytes_AS_STRING(given), PyBytes_GET_SIZE(given)
    return 0


cdef Py_ssize_t _size_of(Parts* part, long long timestamp, long long offset) except -1:
    """Of a record, without its own size in front."""
    cdef tuple headers = <tuple>part.headers
    cdef Py_ssize_t size = 1 + _varint_size(timestamp) + _varint_size(offset) + _varint_size(len(headers)), length
    size += _text_size(part.key_size) + _text_size(part.value_size)
    for name, said in headers:
        PyUnicode_AsUTF8AndSize(name, &length)
        size += _text_size(length) + _text_size(-1 if said is None else PyBytes_GET_SIZE(<bytes?>said))
    return size


cdef unsigned char* _put_record(unsigned char* p, Parts* part, long long timestamp, long long offset) except NULL:
    cdef tuple headers = <tuple>part.headers
    cdef Py_ssize_t length
    cdef const char* name_text
    p = _put_varint(p, part.size)
    p[0] = 0  # attributes, of which Kafka has none yet
    p = _put_varint(_put_varint(p + 1, timestamp), offset)
    p = _put_text(_put_text(p, part.key, part.key_size), part.value, part.value_size)
    p = _put_varint(p, len(headers))
    for name, said in headers:
        name_text = PyUnicode_AsUTF8AndSize(name, &length)
        p = _put_bytes(_put_text(p, <Text>name_text, length), said)
    return p


cdef unsigned char* _put_bytes(unsigned char* p, bytes given):
    if given is None:
        return _put_varint(p, -1)
    return _put_text(p, <Text>PyBytes_AS_STRING(given), PyBytes_GET_SIZE(given))


cdef Py_ssize_t _text_size(Py_ssize_t size) noexcept nogil:
    return _varint_size(size) + max(size, <Py_ssize_t>0)


cdef unsigned char* _put_text(unsigned char* p, Text text, Py_ssize_t size) noexcept nogil:
    """Null where the size is -1."""
    p = _put_varint(p, size)
    if size < 0:
        return p
    memcpy(p, text, size)
    return p + size


cdef Py_ssize_t _varint_size(long long number) noexcept nogil:
    cdef unsigned long long left = _zigzag(number)
    cdef Py_ssize_t size = 1
    while left > 0x7F:
        left >>= 7
        size += 1
    return size


cdef unsigned char* _put_varint(unsigned char* p, long long number) noexcept nogil:
    cdef unsigned long long left = _zigzag(number)
    while left > 0x7F:
        p[0] = 0x80 | (left & 0x7F)
        left >>= 7
        p += 1
    p[0] = left
    return p + 1


cdef inline unsigned long long _zigzag(long long number) noexcept nogil:
    return (<unsigned long long>number << 1) ^ <unsigned long long>(number >> 63)


# What is read.


cdef LightRecord _record(
    Reading* r, str topic, int partition, long long first_offset, long long first_timestamp, long long appended_at
):
    """None where it cannot be read."""
    cdef LightRecord record = LightRecord.__new__(LightRecord)
    cdef long long size = _number(r)
    cdef Text end
    if r.at == NULL or size < 1 or size > r.end - r.at or r.at[0] > 0x7F:
        return None
    end = r.at + size
    r.at += 1  # attributes, of which Kafka has none yet
    record.topic, record.partition = topic, partition
    record.timestamp = first_timestamp + _number(r)
    record.timestamp_type = 0
    if appended_at != -1:
        record.timestamp, record.timestamp_type = appended_at, 1
    record.offset = first_offset + _number(r)
    record.key = _bytes(r)
    record.value = _bytes(r)
    record.headers = _headers(r)
    return record if r.at == end else None


cdef tuple _headers(Reading* r):
    cdef long long count = _number(r)
    if count == 0:
        return ()
    if count == 1:
        return (_header(r),)
    cdef list headers = []
    while count > 0 and r.at != NULL:
        headers.append(_header(r))
        count -= 1
    if count < 0:
        r.at = NULL
    return tuple(headers)


cdef tuple _header(Reading* r):
    cdef long long size = _number(r)
    cdef Text name = _skip(r, size)
    if name == NULL:
        return ()
    return _header_name(<const char*>name, size), _bytes(r)


cdef str _name_before = ""


cdef str _header_name(const char* text, Py_ssize_t size):
    """Nearly always that of the header before, which is not made again."""
    global _name_before
    cdef Py_ssize_t size_before
    cdef const char* before = PyUnicode_AsUTF8AndSize(_name_before, &size_before)
    if size != size_before or memcmp(text, before, size):
        _name_before = PyUnicode_DecodeUTF8(text, size, NULL)
    return _name_before


cdef bytes _bytes(Reading* r):
    """None where it is null, and where it cannot be read."""
    cdef long long size = _number(r)
    if size < 0:
        return None
    cdef Text start = _skip(r, size)
    return PyBytes_FromStringAndSize(<const char*>start, size) if start != NULL else None


cdef Text _skip(Reading* r, long long size) noexcept nogil:
    """Where it was, now behind so many bytes; NULL where there are fewer."""
    cdef Text start = r.at
    if start == NULL or size < 0 or size > r.end - start:
        r.at = NULL
        return NULL
    r.at = start + size
    return start


cdef long long _number(Reading* r) noexcept nogil:
    cdef unsigned long long number = 0
    cdef int shift = 0
    while r.at != NULL and r.at < r.end and shift < 64:
        number |= <unsigned long long>(r.at[0] & 0x7F) << shift
        r.at += 1
        if r.at[-1] < 0x80:
            return <long long>(number >> 1) ^ -<long long>(number & 1)
        shift += 7
    r.at = NULL
    return 0
