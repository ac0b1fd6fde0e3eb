"""The row of a dead letter: whatever was refused, it can be stored and found again."""

import json

import pytest

from pipeline.dead_letters import dead_letter, row
from pipeline.outcome import Rejected
from tests.records import START_MS, TestRecord, raw_call
from topics.names import STITCHED
from topics.raw import LATEST_MS
from topics.rejected import REJECTION_HEADER, Reason

REFUSED = Rejected("validate", Reason.INVALID_FIELD, "why")


def row_of(record: TestRecord) -> dict[str, object]:
    key, value, timestamp, headers = dead_letter(record, REFUSED)
    letter = TestRecord(value=value, headers=headers, key=key, timestamp=timestamp, topic="events.rejected")
    decoded = json.loads(row(letter).decode("utf-8", "surrogateescape"))
    assert isinstance(decoded, dict)
    return decoded


def test_the_row_says_what_who_where_and_why() -> None:
    body = {"type": "track", "event": "E", "anonymousId": "A", "userId": 5, "messageId": "M"}
    columns = row_of(raw_call(body, offset=9))
    headers = columns.pop("headers")
    assert columns == {
        "project_id": "p",
        "message_id": "M",
        "type": "track",
        "event_name": "E",
        "anonymous_id": "A",
        "user_id": "5",
        "received_at": START_MS / 1000,
        "reason": "invalid_field",
        "detail": "why",
        "rejected_at": START_MS / 1000,
        "step": "validate",
        "source_topic": "events.raw",
        "source_partition": 0,
        "source_offset": 9,
        "record_key": "p|a:A",
        "raw": json.dumps(body),
    }
    assert isinstance(headers, dict)
    assert list(headers) == ["whipstitch"]


@pytest.mark.parametrize("value", [b"", b"\xff\xfe\x00\"'\\\n", b"[1]", b'"text"', b"null", b"{" * 3000, None])
def test_whatever_the_bytes_they_are_in_the_row(value: bytes | None) -> None:
    raw = row_of(TestRecord(value=value))["raw"]
    assert isinstance(raw, str)
    assert raw.encode("utf-8", "surrogateescape") == (value or b"")


def test_a_row_that_the_store_refused_keeps_its_columns() -> None:
    stored = {"project_id": "p", "message_id": "M", "user_id": None, "timestamp": 5.0, "properties": {"a": 1}}
    columns = row_of(TestRecord(value=json.dumps(stored).encode(), topic=STITCHED))
    assert (columns["project_id"], columns["message_id"], columns["timestamp"]) == ("p", "M", 5.0)
    assert "properties" not in columns


@pytest.mark.parametrize(
    "text", ['{"x":1e999}', '{"x":"cut \\ud83d"}', '{"x":%s}' % ("9" * 5000), "[" * 200 + "]" * 200]
)
def test_what_is_odd_in_an_event_hides_nothing_else_of_it(text: str) -> None:
    stored = b'{"project_id":"p","message_id":"M","timestamp":1e999,"properties":%s}' % text.encode()
    columns = row_of(TestRecord(value=stored, topic=STITCHED))
    assert (columns["project_id"], columns["message_id"]) == ("p", "M")
    assert "timestamp" not in columns


@pytest.mark.parametrize(
    ("received_at", "kept"),
    [('"never"', None), ("-1", 0), ("1e300", LATEST_MS / 1000), ("1e-7", 0), ("5.0004", 5)],
)
def test_an_instant_that_the_store_could_not_hold_is_the_nearest_or_none(received_at: str, kept: float | None) -> None:
    columns = row_of(TestRecord(value=b'{"received_at":%s}' % received_at.encode(), topic=STITCHED))
    assert columns.get("received_at") == kept


def test_a_long_detail_is_cut() -> None:
    _, _, _, headers = dead_letter(TestRecord(value=b""), Rejected("sink", Reason.STORE_REFUSED, "x" * 5000))
    assert len(headers[-1][1]) < 2000


def test_a_refused_record_that_says_it_is_a_dead_letter_itself_is_refused_for_our_reason() -> None:
    columns = row_of(TestRecord(value=b"{}", headers=((REJECTION_HEADER, b"{"), ("other", b"kept"))))
    assert (columns["reason"], columns["headers"]) == ("invalid_field", {"other": "kept"})


@pytest.mark.parametrize("headers", [(), ((REJECTION_HEADER, b"{"),), ((REJECTION_HEADER, b"[" * 100_000),)])
def test_a_record_among_the_dead_letters_that_is_none_has_a_row_that_says_so(
    headers: tuple[tuple[str, bytes], ...],
) -> None:
    letter = TestRecord(value=b"\xff", headers=headers, topic="events.rejected", offset=7)
    columns = json.loads(row(letter).decode("utf-8", "surrogateescape"))
    assert (columns["reason"], columns["source_topic"], columns["source_offset"]) == ("no_stamp", "events.rejected", 7)
