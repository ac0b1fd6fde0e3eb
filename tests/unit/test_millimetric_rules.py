"""Millimetric's rules, each limit from both sides, and what row an event becomes."""

import json
from typing import Any

import msgspec
import pytest

from pipeline.dialects.millimetric import Call, Invalid, read
from pipeline.outcome import Rejected
from pipeline.rules import Rules
from pipeline.validate import validate
from tests.records import START_MS, TestRecord, only_link
from topics.links import LinkKind
from topics.raw import Dialect, Stamp, stamp_header
from topics.rejected import Reason
from topics.stitched import StitchedEvent

RULES = Rules([], max_event_bytes=32 * 1024)
IDS = {"anonymous_id": "u_abc", "user_id": "user_42"}


def record(body: object, call: str = "track", message_id: str = "M", **stamp: Any) -> TestRecord:
    stamped = Stamp("p", message_id, START_MS, dialect=Dialect.MILLIMETRIC, call=call, **stamp)
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    return TestRecord(value=value, headers=(stamp_header(stamped),), key=b"k")


def event(body: object, call: str = "track", **stamp: Any) -> StitchedEvent:
    outcome = validate(record(body, call, **stamp), RULES)
    assert isinstance(outcome, StitchedEvent), outcome
    return outcome


def problems(body: object, call: str = "track") -> dict[str, str]:
    seen = read(json.dumps(body).encode(), call)
    return seen.problems if isinstance(seen, Invalid) else {}


LIMITS = {"event": 128, "event_id": 128, "anonymous_id": 128, "user_id": 256, "session_id": 128} | dict.fromkeys(
    ("url", "path", "referrer"), 2048
)


@pytest.mark.parametrize(("field", "limit"), LIMITS.items(), ids=LIMITS)
@pytest.mark.parametrize("letter", ["x", "é", "😀"])
def test_text_is_refused_from_one_character_over_its_limit(field: str, limit: int, letter: str) -> None:
    assert problems({"event": "E", field: letter * (limit - 1)}) == {}
    assert problems({"event": "E", field: letter * limit}) == {}
    assert problems({"event": "E", field: letter * (limit + 1)}) == {field: f"Expected `str` of length <= {limit}"}


@pytest.mark.parametrize(("field", "limit"), [("anonymous_id", 128), ("user_id", 256)])
def test_ids_of_an_identify_have_the_same_limits(field: str, limit: int) -> None:
    assert problems({**IDS, field: "x" * limit}, "identify") == {}
    assert list(problems({**IDS, field: "x" * (limit + 1)}, "identify")) == [field]


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_properties_are_refused_from_one_byte_over_8_kb(over: int) -> None:
    body = b'{"event":"E","properties":{"x":"%b"}}' % (b"y" * (8192 - 8 + over))
    assert isinstance(read(body, "track"), Invalid if over > 0 else Call)


def test_spaces_and_escapes_do_not_count_towards_8_kb() -> None:
    assert problems({"event": "E", "properties": {"x": "é" * 4000}}) == {}
    assert problems({"event": "E", "properties": {"x": "é" * 4100}}) == {
        "properties": "Expected at most 8192 bytes of JSON"
    }
    spaced = b'{"event":"E","properties":{"x":"y"%b}}' % (b" " * 9000)
    assert isinstance(read(spaced, "track"), Call)


def test_traits_have_no_limit_but_the_events_own() -> None:
    assert problems({**IDS, "traits": {"x": "y" * 20_000}}, "identify") == {}


@pytest.mark.parametrize("call", ["track", "identify"])
@pytest.mark.parametrize("missing", [None, "", "absent"])
def test_what_is_required_is_required(call: str, missing: str | None) -> None:
    required = {"event": "E"} if call == "track" else IDS
    for name in required:
        body: dict[str, object] = {**required, name: missing}
        if missing == "absent":
            del body[name]
        told = problems(body, call)
        assert list(told) == [name]
        assert told[name] == "Required" or (call, missing) == ("track", "")


@pytest.mark.parametrize("field", [*LIMITS, "timestamp"])
@pytest.mark.parametrize("value", [1, 1.5, True, [], {}], ids=str)
def test_text_of_another_type_is_refused(field: str, value: object) -> None:
    assert list(problems({"event": "E", field: value})) == [field]


@pytest.mark.parametrize("value", [1, True, [], "text"], ids=str)
def test_properties_and_traits_are_objects(value: object) -> None:
    assert problems({"event": "E", "properties": value}) == {"properties": "Expected `object`"}
    assert problems({**IDS, "traits": value}, "identify") == {"traits": "Expected `object`"}


@pytest.mark.parametrize("field", [*LIMITS, "timestamp", "properties"])
def test_null_is_as_good_as_absent(field: str) -> None:
    assert problems({"event": "E", field: None}) == ({"event": "Required"} if field == "event" else {})


@pytest.mark.parametrize("timestamp", ["yesterday", "2026-13-01T00:00:00Z", "1969-12-31T23:59:59Z", "1790000000"])
def test_timestamp_that_is_no_instant_is_refused(timestamp: str) -> None:
    assert list(problems({"event": "E", "timestamp": timestamp})) == ["timestamp"]


@pytest.mark.parametrize(
    "timestamp", ["2026-05-16T19:00:00.000Z", "2026-05-16T19:00:00+00:00", "2026-05-16T21:00:00.5+02:00", ""]
)
def test_iso_8601_is_taken_in_any_zone(timestamp: str) -> None:
    assert problems({"event": "E", "timestamp": timestamp}) == {}


def test_all_that_is_wrong_is_told_at_once_and_no_value_with_it() -> None:
    told = problems({"anonymous_id": {"confidential": 1}, "url": 5, "traits": "confidential"}, "identify")
    assert told == {
        "anonymous_id": "Expected `str | null`, got `object`",
        "url": "Expected `str | null`, got `int`",
        "user_id": "Required",
    }


def test_member_given_twice_is_refused_if_either_is_wrong() -> None:
    assert isinstance(read(b'{"event":1,"event":"E"}', "track"), Invalid)


def test_identify_is_the_event_identify_with_its_traits_as_properties() -> None:
    body = {**IDS, "traits": {"email": "matt@example.com", "plan": "pro"}}
    seen = event(body, "identify")
    assert seen == StitchedEvent(
        project_id="p",
        message_id="M",
        type="identify",
        event_name="$identify",
        anonymous_id="u_abc",
        user_id="user_42",
        stitched_user_id="user_42",
        session_id=f"u_abc-{START_MS // 1_800_000}",
        timestamp=START_MS / 1000,
        original_timestamp=None,
        sent_at=None,
        received_at=START_MS / 1000,
        properties=seen.properties,
        traits=seen.properties,
        raw=seen.raw,
    )
    assert json.loads(bytes(seen.properties)) == body["traits"]
    assert json.loads(bytes(seen.raw)) == body


def test_track_is_an_event_with_every_column() -> None:
    body = {
        "event": "signup",
        "event_id": "evt_abc123",
        "timestamp": "2026-05-16T19:00:00.250Z",
        **IDS,
        "session_id": "sess_xyz",
        "url": "https://shop.example/?utm_source=x",
        "path": "/",
        "referrer": "https://l.example/",
        "properties": {"plan": "free", "team_size": 4},
    }
    seen = event(body, message_id="evt_abc123")
    assert seen == StitchedEvent(
        project_id="p",
        message_id="evt_abc123",
        type="track",
        event_name="signup",
        anonymous_id="u_abc",
        user_id="user_42",
        stitched_user_id="user_42",
        session_id="sess_xyz",
        timestamp=1778958000.25,
        original_timestamp=1778958000.25,
        sent_at=None,
        received_at=START_MS / 1000,
        properties=seen.properties,
        context=seen.context,
        raw=seen.raw,
    )
    assert json.loads(bytes(seen.properties)) == body["properties"]
    assert json.loads(bytes(seen.context)) == {"page": {name: body[name] for name in ("url", "path", "referrer")}}


@pytest.mark.parametrize(
    ("timestamp", "bucket"),
    [("2026-05-16T18:59:59.999Z", 988_309), ("2026-05-16T19:00:00Z", 988_310), ("2026-05-16T19:29:59.999Z", 988_310)],
)
def test_session_is_the_half_hour_of_the_anonymous_id(timestamp: str, bucket: int) -> None:
    assert event({"event": "E", "anonymous_id": "A", "timestamp": timestamp}).session_id == f"A-{bucket}"


@pytest.mark.parametrize("session_id", ["", None])
def test_empty_session_is_none(session_id: str | None) -> None:
    seen = event({"event": "E", "anonymous_id": "A", "session_id": session_id})
    assert seen.session_id == f"A-{START_MS // 1_800_000}"


def test_nothing_happens_later_than_it_was_received() -> None:
    seen = event({"event": "E", "anonymous_id": "A", "timestamp": "2100-01-01T00:00:00Z"})
    assert (seen.timestamp, seen.original_timestamp) == (START_MS / 1000, 4102444800.0)


@pytest.mark.parametrize("anonymous_id", [None, ""])
def test_anonymous_id_that_was_made_up_is_in_the_row_and_links_nobody(anonymous_id: str | None) -> None:
    seen = event({"event": "E", "anonymous_id": anonymous_id, "user_id": "U"}, anonymous_id="$blocked:M")
    assert (seen.anonymous_id, seen.user_id) == ("$blocked:M", "U")
    assert seen.session_id == f"$blocked:M-{START_MS // 1_800_000}"
    assert only_link(seen, RULES) is None


def test_identify_links_exactly_and_a_track_with_both_ids_implicitly() -> None:
    identified, tracked = only_link(event(IDS, "identify"), RULES), only_link(event({"event": "E", **IDS}), RULES)
    assert identified is not None
    assert tracked is not None
    assert (identified.kind, tracked.kind) == (LinkKind.EXACT, LinkKind.IMPLICIT)


def test_event_named_identify_that_has_both_ids_is_an_identify() -> None:
    seen = event({"event": "$identify", **IDS, "properties": {"plan": "pro"}})
    assert (seen.type, seen.event_name) == ("identify", "$identify")
    assert bytes(seen.traits) == bytes(seen.properties) == b'{"plan": "pro"}'
    assert event({"event": "$identify", "anonymous_id": "A"}).type == "track"


def test_reset_ends_an_ownership() -> None:
    fact = only_link(event({"event": "$reset", "anonymous_id": "A"}), RULES)
    assert fact is not None
    assert (fact.kind, fact.anonymous_id, fact.user_id) == (LinkKind.RESET, "A", None)


RESERVED: dict[str, tuple[dict[str, object], bool]] = {
    "reset": ({"event": "$reset", "anonymous_id": "A"}, True),
    "reset of nobody": ({"event": "$reset"}, False),
    "merge": ({"event": "$merge", "properties": {"$distinct_ids": ["x", "y"]}}, True),
    "merge of one": ({"event": "$merge", "properties": {"$distinct_ids": ["x"]}}, False),
    "merge of nothing": ({"event": "$merge", "properties": None}, False),
    "merge of another type": ({"event": "$unmerge", "properties": {"$distinct_ids": "x"}}, False),
    "unalias": ({"event": "$unalias", "user_id": "U", "properties": {"previousId": "P"}}, True),
    "unalias without previousId": ({"event": "$unalias", "user_id": "U"}, False),
}


@pytest.mark.parametrize(("body", "is_taken"), RESERVED.values(), ids=RESERVED)
def test_reserved_event_without_its_ids_is_refused_at_once(body: dict[str, object], is_taken: bool) -> None:
    assert (problems(body) == {}) is is_taken
    outcome = validate(record(body, anonymous_id=None if "anonymous_id" in body else "$blocked:M"), RULES)
    assert isinstance(outcome, StitchedEvent) is is_taken


@pytest.mark.parametrize(
    ("ids", "warning"),
    [({"user_id": "null"}, "blocked_user_id"), ({"anonymous_id": "undefined"}, "blocked_anonymous_id")],
)
def test_identify_by_a_placeholder_is_kept_and_links_nobody(ids: dict[str, str], warning: str) -> None:
    seen = event({**IDS, **ids}, "identify")
    assert warning in seen.warnings
    assert only_link(seen, RULES) is None


REFUSED: dict[str, tuple[object, str, Reason]] = {
    "no event": ({"anonymous_id": "A"}, "track", Reason.MISSING_FIELD),
    "no user": ({"anonymous_id": "A"}, "identify", Reason.MISSING_FIELD),
    "neither id": ({"traits": {}}, "identify", Reason.MISSING_FIELD),
    "long event": ({"event": "x" * 129}, "track", Reason.INVALID_FIELD),
    "wrong type": ({"event": "E", "user_id": 5}, "track", Reason.INVALID_FIELD),
    "array": ([], "track", Reason.NOT_AN_OBJECT),
    "garbage": (b"{", "track", Reason.INVALID_JSON),
    "not utf-8": (b'{"event":"\xff"}', "track", Reason.INVALID_JSON),
}


@pytest.mark.parametrize(("body", "call", "reason"), REFUSED.values(), ids=REFUSED)
def test_pipeline_refuses_by_the_same_rules(body: object, call: str, reason: Reason) -> None:
    outcome = validate(record(body, call), RULES)
    assert isinstance(outcome, Rejected)
    assert outcome.reason is reason


def test_event_id_may_have_128_characters() -> None:
    assert event({"event": "E", "anonymous_id": "A"}, message_id="x" * 128).message_id == "x" * 128
    assert isinstance(validate(record({"event": "E"}, message_id="x" * 129), RULES), Rejected)


def test_track_without_any_id_and_without_one_made_up_is_refused() -> None:
    outcome = validate(record({"event": "E"}), RULES)
    assert isinstance(outcome, Rejected)
    assert outcome.reason is Reason.MISSING_ID


@pytest.mark.parametrize("body", [b"[]", b"1", b"null"])
def test_what_is_no_object_is_raised(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(body, "track")
