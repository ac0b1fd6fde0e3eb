"""A record of Mixpanel's as the canonical event: every column, and where a client's properties go."""

import json
from typing import Any

import msgspec
import pytest

from pipeline.outcome import Rejected
from pipeline.reserved import NEEDS_SECRET_KEY
from pipeline.rules import Rules
from pipeline.validate import SYNTHETIC_PREFIX, validate
from tests.records import START_MS, TestRecord
from topics.raw import Dialect, Stamp, stamp_header
from topics.rejected import Reason
from topics.stitched import StitchedEvent

RULES = Rules([], max_event_bytes=32 * 1024)
DEVICE = "0b6d2f5e-3c1a-4d2b-9e4f-8a7c6b5d4e3f"
RECEIVED_AT = START_MS / 1000


def taken(record: dict[str, Any] | bytes, call: str = "track", **stamp: Any) -> TestRecord:
    value = record if isinstance(record, bytes) else json.dumps(record).encode()
    stamped = Stamp("p", "m", START_MS, dialect=Dialect.MIXPANEL, call=call, **stamp)
    return TestRecord(value=value, headers=(stamp_header(stamped),), key=b"k")


def event_of(record: dict[str, Any] | bytes, call: str = "track", **stamp: Any) -> StitchedEvent:
    outcome = validate(taken(record, call, **stamp), RULES)
    assert isinstance(outcome, StitchedEvent), outcome
    return outcome


def refused(record: dict[str, Any] | bytes, call: str = "track", **stamp: Any) -> Rejected:
    outcome = validate(taken(record, call, **stamp), RULES)
    assert isinstance(outcome, Rejected), outcome
    return outcome


def track(name: str = "Signed Up", /, **properties: Any) -> dict[str, Any]:
    return {"event": name, "properties": {"token": "t", **properties}}


def of_json(raw: msgspec.Raw) -> Any:
    return json.loads(bytes(raw))


BROWSER = {
    "distinct_id": f"$device:{DEVICE}",
    "$device_id": DEVICE,
    "$insert_id": "m",
    "time": RECEIVED_AT - 10.25,
    "mp_lib": "web",
    "$lib_version": "2.71.0",
    "$browser": "Chrome",
    "$browser_version": 141,
    "$os": "Mac OS X",
    "$current_url": "https://shop.example/pricing?utm_source=ads",
    "$referrer": "https://search.example/",
    "$screen_width": 1440,
    "$screen_height": 900,
    "utm_source": "ads",
    "plan": "pro",
    "$mp_replay_id": "r",
}


def test_event_has_every_column() -> None:
    value = json.dumps(track(**BROWSER), indent=1).encode()
    seen = event_of(value, ip="203.0.113.7", user_agent="Mozilla/5.0")
    timestamp = RECEIVED_AT - 10.25
    assert seen == StitchedEvent(
        project_id="p",
        message_id="m",
        type="track",
        event_name="Signed Up",
        anonymous_id=DEVICE,
        user_id=None,
        stitched_user_id=None,
        session_id=f"{DEVICE}-{int(timestamp // 1800)}",
        timestamp=timestamp,
        original_timestamp=timestamp,
        sent_at=None,
        received_at=RECEIVED_AT,
        properties=seen.properties,
        context=seen.context,
        library="web/2.71.0",
        raw=seen.raw,
    )
    assert of_json(seen.properties) == BROWSER
    assert of_json(seen.context) == {
        "ip": "203.0.113.7",
        "userAgent": "Mozilla/5.0",
        "browser": {"name": "Chrome", "version": 141},
        "campaign": {"source": "ads"},
        "library": {"name": "web", "version": "2.71.0"},
        "os": {"name": "Mac OS X"},
        "page": {"url": BROWSER["$current_url"], "referrer": BROWSER["$referrer"]},
        "screen": {"width": 1440, "height": 900},
    }
    assert bytes(seen.raw) == value


def test_token_stays_in_the_raw_bytes_alone() -> None:
    seen = event_of(track(plan="pro"), anonymous_id="a")
    assert of_json(seen.properties) == {"plan": "pro"}
    assert b'"token"' in bytes(seen.raw)
    update = event_of({"$token": "t", "$distinct_id": "u", "$add": {"n": 1}}, "engage")
    assert of_json(update.properties) == {"$distinct_id": "u", "$add": {"n": 1}}


def test_value_of_a_property_is_kept_byte_for_byte() -> None:
    value = b'{"event":"E","properties":{"distinct_id":"u","n":1.50e+02,"s":"\\u0041"}}'
    assert bytes(event_of(value).properties) == b'{"distinct_id":"u","n":1.50e+02,"s":"\\u0041"}'


@pytest.mark.parametrize("odd", [None, "", [], {}, 5, True])
def test_descriptive_property_of_another_type_refuses_nothing(odd: Any) -> None:
    names = ("$browser", "$os", "$current_url", "$referrer", "mp_lib", "$lib_version", "$ip", "ip", "utm_source")
    seen = event_of(track(distinct_id="u", **dict.fromkeys(names, odd)))
    assert of_json(seen.properties) == {"distinct_id": "u", **dict.fromkeys(names, odd)}
    assert seen.library is None


def test_without_a_time_it_happened_on_receipt() -> None:
    seen = event_of(track(distinct_id="u"))
    assert (seen.timestamp, seen.original_timestamp) == (RECEIVED_AT, None)


def test_what_is_ahead_of_its_receipt_happened_on_receipt() -> None:
    seen = event_of(track(distinct_id="u", time=RECEIVED_AT + 60))
    assert (seen.timestamp, seen.original_timestamp) == (RECEIVED_AT, RECEIVED_AT + 60)


@pytest.mark.parametrize(
    ("said", "ip"),
    [({}, "1.2.3.4"), ({"$ip": "9.9.9.9"}, "9.9.9.9"), ({"ip": "9.9.9.9"}, "9.9.9.9"), ({"ip": "0"}, None)],
)
def test_address_is_the_clients_word_else_what_the_ingress_saw(said: dict[str, str], ip: str | None) -> None:
    assert of_json(event_of(track(distinct_id="u", **said), ip="1.2.3.4").context).get("ip") == ip


def test_user_agent_is_added_for_client_side_events_only() -> None:
    seen = event_of(track(distinct_id="u"), key_kind="secret", user_agent="python-requests")
    assert of_json(seen.context) == {}


def test_event_of_nobody_has_an_id_that_links_nothing() -> None:
    seen = event_of(track(), anonymous_id=f"{SYNTHETIC_PREFIX}m")
    assert (seen.anonymous_id, seen.user_id, seen.session_id) == (f"{SYNTHETIC_PREFIX}m", None, None)


@pytest.mark.parametrize(
    "properties",
    [
        {"$identified_id": "u", "$anon_id": DEVICE},
        {"distinct_id": "u", "$device_id": DEVICE, "$user_id": "u"},
    ],
)
def test_identify_keeps_its_ids_in_its_properties(properties: dict[str, str]) -> None:
    seen = event_of(track("$identify", **properties))
    assert (seen.type, seen.event_name, seen.anonymous_id, seen.user_id) == ("identify", "$identify", DEVICE, "u")
    assert of_json(seen.properties) == properties


def test_user_id_that_is_an_email_address_becomes_the_trait() -> None:
    seen = event_of(track("$identify", **{"$identified_id": "u@example.com", "$anon_id": DEVICE}))
    assert of_json(seen.traits) == {"email": "u@example.com"}


@pytest.mark.parametrize(
    ("distinct_id", "alias", "anonymous_id", "user_id", "previous_id", "warnings"),
    [
        (DEVICE, "u", DEVICE, "u", DEVICE, ()),
        (f"$device:{DEVICE}", "u", DEVICE, "u", DEVICE, ()),
        ("u1", "u2", None, "u1", "u2", (NEEDS_SECRET_KEY,)),
    ],
)
def test_alias_says_its_previous_id_and_a_public_key_ties_no_two_users(
    distinct_id: str,
    alias: str,
    anonymous_id: str | None,
    user_id: str,
    previous_id: str,
    warnings: tuple[str, ...],
) -> None:
    given = {"distinct_id": distinct_id, "alias": alias}
    seen = event_of(track("$create_alias", **given))
    assert (seen.type, seen.event_name, seen.anonymous_id, seen.user_id) == ("alias", "$alias", anonymous_id, user_id)
    assert of_json(seen.properties) == {**given, "previousId": previous_id}
    assert seen.warnings == warnings
    assert event_of(track("$create_alias", **given), key_kind="secret").warnings == ()


def test_merge_is_an_event_of_its_two_ids() -> None:
    record = track("$merge", **{"$distinct_ids": ["u1", "u2"]})
    seen = event_of(record, "import", key_kind="secret")
    assert (seen.type, seen.event_name, seen.anonymous_id, seen.user_id) == ("track", "$merge", None, None)
    assert of_json(seen.properties) == {"$distinct_ids": ["u1", "u2"]}
    assert refused(record).reason is Reason.NEEDS_SECRET_KEY


def test_set_tells_traits_by_their_canonical_names() -> None:
    told = {"$email": "u@example.com", "$first_name": "Ada", "$last_name": "L", "$created": "2026-01-01", "plan": "pro"}
    update = {"$token": "t", "$distinct_id": "u", "$time": RECEIVED_AT - 1, "$ip": "0", "$set": told}
    seen = event_of(update, "engage", ip="1.2.3.4")
    assert (seen.type, seen.event_name, seen.user_id) == ("identify", "$identify", "u")
    assert of_json(seen.traits) == {
        "email": "u@example.com",
        "firstName": "Ada",
        "lastName": "L",
        "name": "Ada L",
        "createdAt": "2026-01-01",
        "plan": "pro",
    }
    assert of_json(seen.properties) == {"$distinct_id": "u", "$time": RECEIVED_AT - 1, "$ip": "0"}
    assert of_json(seen.context) == {}


def test_set_once_and_unset_say_in_the_properties_that_they_are_no_set() -> None:
    once = event_of({"$distinct_id": DEVICE, "$set_once": {"$name": "Ada"}}, "engage")
    assert (once.anonymous_id, of_json(once.traits)) == (DEVICE, {"name": "Ada"})
    assert of_json(once.properties) == {"$distinct_id": DEVICE, "$set_once": {"$name": "Ada"}}
    gone = event_of({"$distinct_id": "u", "$unset": ["$phone", "plan"]}, "engage")
    assert of_json(gone.traits) == {"phone": None, "plan": None}
    assert of_json(gone.properties) == {"$distinct_id": "u", "$unset": ["$phone", "plan"]}


def test_group_is_described_by_a_group_event() -> None:
    update = {"$group_key": "company", "$group_id": "Acme", "$set": {"$name": "Acme Inc.", "plan": "pro"}}
    seen = event_of(update, "groups", anonymous_id=f"{SYNTHETIC_PREFIX}m")
    assert (seen.type, seen.event_name) == ("group", "$group")
    assert of_json(seen.traits) == {"name": "Acme Inc.", "plan": "pro"}
    assert of_json(seen.properties) == {"$group_key": "company", "$group_id": "Acme", "groupId": "Acme"}


def test_half_of_an_emoji_refuses_nothing() -> None:
    seen = event_of(rb'{"event":"E","properties":{"distinct_id":"u","title":"cut \ud83d"}}')
    assert of_json(seen.properties) == {"distinct_id": "u", "title": "cut \ufffd"}


def test_placeholder_id_makes_no_user() -> None:
    seen = event_of(track(distinct_id="undefined"))
    assert (seen.anonymous_id, seen.user_id, seen.warnings) == (f"{SYNTHETIC_PREFIX}m", None, ("blocked_user_id",))


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        (b"{", Reason.INVALID_JSON, ""),
        (b"1", Reason.NOT_AN_OBJECT, ""),
        (b'{"event":"E","properties":{"x":' + b"[" * 9000 + b"]" * 9000 + b"}}", Reason.TOO_DEEP, ""),
        (b'{"event":"\xff","properties":{}}', Reason.INVALID_JSON, ""),
        (track(time=1), Reason.INVALID_FIELD, "properties.time"),
        (track("$identify", **{"$identified_id": "u", "$anon_id": "NEW_ID"}), Reason.INVALID_FIELD, "$anon_id"),
        ({"properties": {}}, Reason.MISSING_FIELD, "event"),
    ],
)
def test_record_that_breaks_a_rule_is_refused_and_says_where(
    record: dict[str, Any] | bytes, reason: Reason, detail: str
) -> None:
    rejected = refused(record)
    assert rejected.reason is reason
    assert detail in rejected.detail


def test_stamp_of_an_endpoint_that_there_is_not_is_refused() -> None:
    assert refused(track(distinct_id="u"), "decide").reason is Reason.UNKNOWN_TYPE
