"""A line of an export gives back the very record that it was made of."""

import json
from pathlib import Path

import cramjam
import pytest

from replay.errors import Refused
from replay.export_line import line_of, read_lines, record_of
from tests.records import TestRecord, raw_call
from topics.orders import Forget, order_record
from topics.records import RawRecord

KEY, VALUE, AT_MS, HEADERS = order_record(Forget("p", "A", ("u",)), 1_790_000_000_000)
RECORDS = [
    raw_call({"type": "track", "event": "E", "anonymousId": "A", "properties": {"price": 1.50}}, offset=7),
    raw_call(b'{"type": "track",  "n": 1e999, "a": 1, "a": 2, "s": "\\ud83d"}', message_id="odd"),
    raw_call(b'{"type":"track",\n"event":"E"}', message_id="of two lines"),
    raw_call(b' {"type":"track"} ', message_id="with blanks"),
    raw_call(b'{"type":"tra', message_id="cut short"),
    raw_call(b'{"type":"\xff\xfe"}', message_id="no text"),
    raw_call(b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}", message_id="deep"),
    raw_call(b"", message_id="empty"),
    TestRecord(None, (), None),
    TestRecord(b"garbage", (("x", b"\x00\xff"), ("whipstitch", b"{")), b"\xff", offset=3, timestamp=5),
    TestRecord(VALUE, HEADERS, KEY, timestamp=AT_MS),
]


def fields(record: RawRecord) -> tuple[object, ...]:
    place = record.topic, record.partition, record.offset, record.timestamp
    return *place, record.key, record.value, record.headers


@pytest.mark.parametrize("record", RECORDS, ids=range(len(RECORDS)))
def test_record_survives_its_line(record: TestRecord) -> None:
    line = line_of(record)
    assert b"\n" not in line
    assert fields(record_of(line, 0)) == fields(record)


def test_line_is_json_that_people_can_read() -> None:
    line = json.loads(line_of(RECORDS[0]))
    assert line["event"]["properties"] == {"price": 1.5}
    assert (line["stamp"]["project_id"], line["key"], line["offset"]) == ("p", "p|a:A", 7)


@pytest.mark.parametrize("name", ["e.ndjson", "e.ndjson.zst"])
def test_files_are_read_one_after_the_other_plain_or_packed(tmp_path: Path, name: str) -> None:
    path, lines = tmp_path / name, b"".join(line_of(record) + b"\n" for record in RECORDS)
    packed = b"".join(bytes(cramjam.zstd.compress(part)) for part in (lines[:50], lines[50:]))
    path.write_bytes(packed if name.endswith(".zst") else lines)
    assert [fields(each) for each in read_lines([path, path])] == [fields(each) for each in RECORDS * 2]


def test_line_without_a_place_stands_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "e.ndjson"
    path.write_text('{"timestamp":1}\n{"timestamp":2}\n')
    assert [record.offset for record in read_lines([path, path])] == [0, 1, 2, 3]


@pytest.mark.parametrize("bad", [b"no json", b'{"event":{}}', b'{"timestamp":1,"event_base64":"?"}', b""])
def test_line_that_is_none_is_named(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "e.ndjson"
    path.write_bytes(b'{"timestamp":1}\n' + bad + b"\n")
    with pytest.raises(Refused, match=r"e\.ndjson, line 2: not a line of"):
        list(read_lines([path]))


def test_file_that_is_no_zstd_is_named(tmp_path: Path) -> None:
    path = tmp_path / "e.ndjson.zst"
    path.write_bytes(b"not packed at all")
    with pytest.raises(Refused, match=r"e\.ndjson\.zst"):
        list(read_lines([path]))
