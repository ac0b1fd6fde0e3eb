"""What becomes an event, what becomes a dead letter, and with which reason."""

import json

import msgspec
import pytest

from pipeline.outcome import Rejected
from pipeline.rules import Rules
from pipeline.validate import validate
from tests.records import START_MS, TestRecord, raw_call
from topics.control import Project
from topics.rejected import Reason
from topics.stitched import StitchedEvent

RULES = Rules([], max_event_bytes=32 * 1024)
TRACK: dict[str, object] = {"type": "track", "event": "E", "anonymousId": "A"}


def event(record: TestRecord, rules: Rules = RULES) -> StitchedEvent:
    outcome = validate(record, rules)
    assert isinstance(outcome, StitchedEvent), outcome
    return outcome


def refused(record: TestRecord) -> Rejected:
    outcome = validate(record, RULES)
    assert isinstance(outcome, Rejected), outcome
    return outcome


def test_a_call_becomes_an_event_with_every_column() -> None:
    body = {
        **TRACK,
        "messageId": "M",
        "userId": 42,
        "timestamp": "2026-09-21T14:13:10Z",
        "sentAt": "2026-09-21T14:13:19Z",
        "properties": {"plan": "pro"},
        "context": {"library": {"name": "lib", "version": "1"}, "ip": "9.9.9.9"},
        "integrations": {"All": False},
    }
    seen = event(raw_call(body))
    received_at = START_MS / 1000
    assert seen == StitchedEvent(
        project_id="p",
        message_id="M",
        type="track",
        event_name="E",
        anonymous_id="A",
        user_id="42",
        stitched_user_id="42",
        session_id=f"A-{int((received_at - 9) // 1800)}",
        timestamp=received_at - 9,
        original_timestamp=received_at - 10,
        sent_at=received_at - 1,
        received_at=received_at,
        properties=seen.properties,
        context=seen.context,
        integrations=seen.integrations,
        library="lib/1",
        warnings=(),
        raw=seen.raw,
    )
    assert json.loads(bytes(seen.properties)) == body["properties"]
    assert json.loads(bytes(seen.context)) == body["context"]
    assert json.loads(bytes(seen.integrations)) == body["integrations"]
    assert bytes(seen.raw) == json.dumps(body).encode()


@pytest.mark.parametrize(
    ("kind", "fields", "name"),
    [
        ("identify", {}, "$identify"),
        ("page", {"name": "Home"}, "$page"),
        ("screen", {"name": "Home"}, "$screen"),
        ("group", {"groupId": "G"}, "$group"),
        ("alias", {"userId": "U", "previousId": "A"}, "$alias"),
    ],
)
def test_calls_without_an_event_have_a_name_of_their_own(kind: str, fields: dict[str, object], name: str) -> None:
    assert event(raw_call({"type": kind, "anonymousId": "A", **fields})).event_name == name


@pytest.mark.parametrize(
    ("fields", "properties"),
    [
        ({"type": "page", "name": "Home", "category": "C"}, {"name": "Home", "category": "C"}),
        ({"type": "page", "name": "Home", "properties": {"name": "own", "x": 1}}, {"name": "own", "x": 1}),
        ({"type": "group", "groupId": 7}, {"groupId": 7}),
        ({"type": "alias", "userId": "U", "previousId": "P"}, {"previousId": "P"}),
    ],
)
def test_what_a_call_says_beside_its_properties_is_kept_in_them(fields: dict[str, object], properties: object) -> None:
    assert json.loads(bytes(event(raw_call({"anonymousId": "A", **fields})).properties)) == properties


def test_the_endpoint_decides_the_type() -> None:
    assert event(raw_call({**TRACK, "type": "identify"}, call="track")).type == "track"


def test_the_context_of_a_batch_lies_under_its_events_own() -> None:

    batch = msgspec.Raw(b'{"locale":"de","app":{"name":"batch"}}')
    seen = event(raw_call({**TRACK, "context": {"app": {"name": "own"}}}, context=batch))
    assert json.loads(bytes(seen.context)) == {"locale": "de", "app": {"name": "own"}}


def test_the_address_is_added_for_client_side_calls_that_do_not_say_it() -> None:
    seen = event(raw_call(TRACK, ip="1.2.3.4"))
    assert json.loads(bytes(seen.context)) == {"ip": "1.2.3.4"}
    secret = event(raw_call(TRACK, ip="1.2.3.4", key_kind="secret"))
    assert json.loads(bytes(secret.context)) == {}
    own = event(raw_call({**TRACK, "context": {"ip": "9.9.9.9", "x": 1}}, ip="1.2.3.4"))
    assert json.loads(bytes(own.context)) == {"ip": "9.9.9.9", "x": 1}


REFUSED: dict[str, tuple[dict[str, object] | bytes, Reason]] = {
    "empty": (b"", Reason.INVALID_JSON),
    "garbage": (b"\x00\x01garbage", Reason.INVALID_JSON),
    "truncated": (b'{"type":"track","event":"E","anonym', Reason.INVALID_JSON),
    "not UTF-8": (b'{"type":"track","event":"\xff","anonymousId":"A"}', Reason.INVALID_JSON),
    "NaN": (b'{"type":"track","event":"E","anonymousId":"A","properties":{"x":NaN}}', Reason.INVALID_JSON),
    "a list": (b"[1]", Reason.NOT_AN_OBJECT),
    "a number": (b"1", Reason.NOT_AN_OBJECT),
    "100,000 deep": (b'{"properties":' + b"[" * 100_000, Reason.TOO_LARGE),
    "10,000 deep": (b'{"properties":' + b"[" * 10_000 + b"]" * 10_000 + b"}", Reason.TOO_DEEP),
    "40 KB": ({**TRACK, "properties": {"x": "y" * 40_960}}, Reason.TOO_LARGE),
    "an id that is an object": ({**TRACK, "userId": {}}, Reason.INVALID_FIELD),
    "a long messageId": ({**TRACK, "messageId": "m" * 101}, Reason.INVALID_FIELD),
    "no such type": ({**TRACK, "type": "trak"}, Reason.UNKNOWN_TYPE),
    "no type": ({"anonymousId": "A"}, Reason.UNKNOWN_TYPE),
    "no event": ({"type": "track", "anonymousId": "A"}, Reason.MISSING_FIELD),
    "no group": ({"type": "group", "anonymousId": "A"}, Reason.MISSING_FIELD),
    "no previousId": ({"type": "alias", "userId": "U"}, Reason.MISSING_FIELD),
    "no id at all": ({"type": "track", "event": "E"}, Reason.MISSING_ID),
    "empty ids": ({"type": "track", "event": "E", "userId": "", "anonymousId": None}, Reason.MISSING_ID),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_data_is_refused_with_its_reason(name: str) -> None:
    body, reason = REFUSED[name]
    assert refused(raw_call(body)).reason is reason


def test_a_record_that_no_ingress_stamped_is_refused() -> None:
    assert refused(TestRecord(value=b"{}")).reason is Reason.NO_STAMP
    assert refused(TestRecord(value=b"{}", headers=(("whipstitch", b"\xff"),))).reason is Reason.NO_STAMP


@pytest.mark.parametrize("received_at_ms", [b"-1", b"1" + b"0" * 400])
def test_a_receipt_that_is_no_instant_is_of_no_ingress(received_at_ms: bytes) -> None:
    stamp = b'{"project_id":"p","message_id":"m","received_at_ms":%b}' % received_at_ms
    record = TestRecord(raw_call(TRACK).value, headers=(("whipstitch", stamp),))
    assert refused(record).reason is Reason.NO_STAMP


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    assert "hunter2" not in refused(raw_call({**TRACK, "userId": {"password": "hunter2"}})).detail


@pytest.mark.parametrize("name", ["properties", "traits", "context", "integrations"])
def test_what_should_be_an_object_and_is_not_is_a_warning(name: str) -> None:
    seen = event(raw_call({**TRACK, name: [1]}))
    assert seen.warnings == (f"{name}_not_an_object",)
    assert bytes(getattr(seen, name)) == b"{}"
    assert event(raw_call({**TRACK, name: None})).warnings == ()


def test_an_unreadable_timestamp_is_a_warning_and_the_receipt_counts() -> None:
    seen = event(raw_call({**TRACK, "timestamp": "soon"}))
    assert (seen.warnings, seen.timestamp) == (("timestamp_unreadable",), START_MS / 1000)


def test_a_blocked_user_is_no_user() -> None:
    seen = event(raw_call({"type": "identify", "anonymousId": "A", "userId": " NULL "}))
    assert (seen.user_id, seen.anonymous_id, seen.warnings) == (None, "A", ("blocked_user_id",))


def test_a_blocked_anonymous_id_gives_way_to_one_that_links_nothing() -> None:
    seen = event(raw_call({**TRACK, "anonymousId": "undefined", "messageId": "M"}))
    assert (seen.anonymous_id, seen.warnings) == ("$blocked:M", ("blocked_anonymous_id",))


def test_a_project_blocks_ids_of_its_own() -> None:
    rules = Rules([Project("p", 0, blocked_ids=("Test-User",))], max_event_bytes=1000)
    assert event(raw_call({**TRACK, "userId": "test-user"}), rules).user_id is None
    assert event(raw_call({**TRACK, "userId": "test-user"}, project_id="other"), rules).user_id == "test-user"
