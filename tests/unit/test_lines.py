"""Records as lines, and what was written of them, are the records that they stand for."""

import pytest

from topics.lines import Lines
from topics.records import PlacedRecord, Record, Stretch
from topics.written import Written

RECORDS: list[Record] = [(b"k1", b'{"n":1}', 10, ()), (None, b'{"n":2}', 20, ()), (b"k1", b"{}", 5, ())]


@pytest.fixture
def lines() -> Lines:
    made = Lines()
    made.append(b"k1", b'{"n":1}', 10)
    made.extend(b'{"n":2}\n{}\n', [None, b"k1"], [20, 5])
    return made


def test_they_are_records_in_their_order(lines: Lines) -> None:
    assert lines == RECORDS == lines
    assert RECORDS[::-1] != lines
    assert [lines[at] for at in (0, 1, -1)] == [RECORDS[0], RECORDS[1], RECORDS[2]]
    assert lines[1:] == RECORDS[1:]
    assert len(lines) == 3


def test_their_text_is_all_of_them_and_goes_on(lines: Lines) -> None:
    assert lines.text == b'{"n":1}\n{"n":2}\n{}\n'
    lines.append(None, b"[]", 1)
    assert lines.text == b'{"n":1}\n{"n":2}\n{}\n[]\n'
    assert lines == [*RECORDS, (None, b"[]", 1, ())]


def test_none_are_no_text() -> None:
    assert (Lines().text, len(Lines()), [*Lines()]) == (b"", 0, [])


def test_what_was_written_of_them_is_where_it_lies(lines: Lines) -> None:
    for records in (lines, RECORDS):
        written = Written("identity.links", 3, 70, records)
        assert written[1] == PlacedRecord("identity.links", 3, 71, 20, None, b'{"n":2}', ())
        assert written.stretch == Stretch.of(written) == Stretch("identity.links", 3, 70, 73, 3)
        assert b"\n".join(written.values()).split() == [b'{"n":1}', b'{"n":2}', b"{}"]
