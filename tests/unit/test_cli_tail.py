"""Lines of `tail`, from records as the topics hold them."""

import json
from dataclasses import dataclass, replace

import msgspec

from cli.tail import rejected_json, rejected_line, stitched_json, stitched_line
from topics import rejected, stitched
from topics.names import REJECTED, STITCHED
from topics.raw import Stamp, stamp_header
from topics.records import Headers
from topics.rejected import Reason, Rejection
from topics.stitched import StitchedEvent

EVENT = StitchedEvent(
    project_id="shop",
    message_id="m1",
    type="track",
    event_name="Order Completed",
    anonymous_id="a1",
    user_id=None,
    stitched_user_id="ann",
    session_id=None,
    timestamp=1_700_000_000.0,
    original_timestamp=None,
    sent_at=None,
    received_at=1_700_000_001.5,
)
REJECTION = Rejection(
    "events.raw", 3, 17, "validate", Reason.MISSING_ID, "neither userId nor anonymousId", 1_700_000_000_000
)


@dataclass(frozen=True)
class Record:
    topic: str
    value: bytes | None
    headers: Headers = ()
    key: bytes | None = b"shop|m:m1"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0


def stitched_record(event: StitchedEvent) -> Record:
    return Record(STITCHED, stitched.encode(event))


DEAD_LETTER = Record(
    REJECTED,
    b'{"event": "\xff"}',
    (
        stamp_header(Stamp(project_id="shop", message_id="m1", received_at_ms=1)),
        (rejected.REJECTION_HEADER, rejected.encode(REJECTION)),
    ),
)


def test_line_says_time_project_type_event_and_whose_it_is() -> None:
    line = stitched_line(stitched_record(EVENT), None)
    assert line == b"2023-11-14T22:13:21Z  shop  track  Order Completed  ann"


def test_event_that_is_nobodys_shows_its_anonymous_id_in_brackets() -> None:
    line = stitched_line(stitched_record(msgspec.structs.replace(EVENT, stitched_user_id=None)), None)
    assert line is not None
    assert line.endswith(b"  (a1)")


def test_other_projects_are_left_out() -> None:
    record = stitched_record(EVENT)
    assert stitched_line(record, "other") is None
    assert stitched_json(record, "other") is None
    assert rejected_line(DEAD_LETTER, "other") is None
    assert rejected_json(DEAD_LETTER, "other") is None
    assert stitched_line(record, "shop") is not None
    assert rejected_line(DEAD_LETTER, "shop") is not None


def test_json_is_the_record_itself() -> None:
    record = stitched_record(EVENT)
    assert stitched_json(record, "shop") == record.value


def test_event_name_cannot_steer_the_terminal() -> None:
    line = stitched_line(stitched_record(msgspec.structs.replace(EVENT, event_name="\x1b[2J\nfake")), None)
    assert line is not None
    assert b"\x1b" not in line
    assert b"\n" not in line


def test_dead_letter_shows_step_reason_and_detail() -> None:
    line = rejected_line(DEAD_LETTER, None)
    assert line == b"2023-11-14T22:13:20Z  shop  validate  missing_id  neither userId nor anonymousId"


def test_dead_letter_as_json_has_where_it_stood_and_what_it_was() -> None:
    told = json.loads(rejected_json(DEAD_LETTER, None) or b"")
    assert told["project_id"] == "shop"
    assert (told["source_topic"], told["source_partition"], told["source_offset"]) == ("events.raw", 3, 17)
    assert told["value"] == '{"event": "\ufffd"}'


def test_dead_letter_that_came_past_the_ingress_belongs_to_no_project() -> None:
    stray = replace(DEAD_LETTER, headers=DEAD_LETTER.headers[1:])
    line = rejected_line(stray, None)
    assert line is not None
    assert b"  -  validate" in line
