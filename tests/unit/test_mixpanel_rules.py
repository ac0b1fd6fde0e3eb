"""Mixpanel's rules for a record, one by one: which hold, which do not, and what they say of whom."""

import json
from typing import Any

import pytest

from pipeline.dialects.mixpanel import read_record
from pipeline.dialects.mixpanel_fields import Endpoint, Invalid, Record, counts_as_anonymous
from topics.control import KeyKind
from topics.rejected import Reason

NOW_MS = 1_790_000_000_000
DEVICE = "0b6d2f5e-3c1a-4d2b-9e4f-8a7c6b5d4e3f"
OTHER_DEVICE = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
UUID_V1 = "0b6d2f5e-3c1a-1d2b-9e4f-8a7c6b5d4e3f"


def read(
    record: dict[str, Any] | bytes, endpoint: Endpoint = "track", key_kind: KeyKind = "public"
) -> Record | Invalid:
    value = record if isinstance(record, bytes) else json.dumps(record).encode()
    return read_record(value, endpoint, key_kind, NOW_MS)


def event(name: str = "Signed Up", /, **properties: Any) -> dict[str, Any]:
    return {"event": name, "properties": {"token": "t", **properties}}


def held(record: dict[str, Any] | bytes, endpoint: Endpoint = "track", key_kind: KeyKind = "public") -> Record:
    outcome = read(record, endpoint, key_kind)
    assert isinstance(outcome, Record), outcome
    return outcome


def wrong(
    record: dict[str, Any] | bytes, endpoint: Endpoint = "track", key_kind: KeyKind = "public"
) -> tuple[Reason, str]:
    outcome = read(record, endpoint, key_kind)
    assert isinstance(outcome, Invalid), outcome
    assert outcome.message
    return outcome.reason, outcome.field


@pytest.mark.parametrize(
    ("record", "reason", "field"),
    [
        (b"1", Reason.NOT_AN_OBJECT, ""),
        (b"null", Reason.NOT_AN_OBJECT, ""),
        (b"[]", Reason.NOT_AN_OBJECT, ""),
        (b"{}", Reason.MISSING_FIELD, "event"),
        (b'{"event":"","properties":{}}', Reason.MISSING_FIELD, "event"),
        (b'{"event":null,"properties":{}}', Reason.MISSING_FIELD, "event"),
        (b'{"event":1,"properties":{}}', Reason.INVALID_FIELD, "event"),
        (b'{"event":"E"}', Reason.MISSING_FIELD, "properties"),
        (b'{"event":"E","properties":null}', Reason.MISSING_FIELD, "properties"),
        (b'{"event":"E","properties":[]}', Reason.INVALID_FIELD, "properties"),
        (b'{"event":"E","properties":"{}"}', Reason.INVALID_FIELD, "properties"),
        (event(distinct_id=1.5), Reason.INVALID_FIELD, "properties.distinct_id"),
        (event(distinct_id={"a": 1}), Reason.INVALID_FIELD, "properties.distinct_id"),
        (event(**{"$user_id": ["u"]}), Reason.INVALID_FIELD, "properties.$user_id"),
        (event(**{"$device_id": True}), Reason.INVALID_FIELD, "properties.$device_id"),
    ],
)
def test_record_that_is_no_event_is_told_by_its_field(
    record: dict[str, Any] | bytes, reason: Reason, field: str
) -> None:
    assert wrong(record) == (reason, field)


def test_message_never_repeats_a_value() -> None:
    outcome = read(event(distinct_id={"name": "mallory"}, time="mallory"))
    assert isinstance(outcome, Invalid)
    assert "mallory" not in outcome.message


@pytest.mark.parametrize("insert_id", ["a", "A-1", "x" * 36, "5d958f87-542d-4c10-9422-0ed75893dc81", 17])
def test_insert_id_is_the_message_id(insert_id: str | int) -> None:
    assert held(event(**{"$insert_id": insert_id})).insert_id == str(insert_id)


@pytest.mark.parametrize("insert_id", [None, ""])
def test_insert_id_may_be_missing(insert_id: str | None) -> None:
    assert held(event(**{"$insert_id": insert_id})).insert_id is None
    assert held(event()).insert_id is None


@pytest.mark.parametrize(
    "insert_id",
    [
        "x" * 37,
        "a b",
        "a_b",
        "a.b",
        "ü",
        "a\n",
        "null",
        "undefined",
        "0",
        "-1",
        "-",
        1.5,
        [],
        {},
        True,
        "00000000-0000-0000-0000-000000000000",
    ],
)
def test_insert_id_of_any_other_form_is_wrong(insert_id: Any) -> None:
    assert wrong(event(**{"$insert_id": insert_id})) == (Reason.INVALID_FIELD, "properties.$insert_id")


@pytest.mark.parametrize(
    ("time", "time_ms"),
    [
        (1_789_999_990, 1_789_999_990_000),
        (1_789_999_990.25, 1_789_999_990_250),
        (1_789_999_990_123, 1_789_999_990_123),
        (1_789_999_990_123.6, 1_789_999_990_124),
        (31_536_000, 31_536_000_000),
        (31_536_000_000, 31_536_000_000),
        (1_790_003_600, 1_790_003_600_000),
        (1_790_003_600_000, 1_790_003_600_000),
    ],
)
def test_time_is_seconds_or_milliseconds_from_1971_to_an_hour_ahead(time: float, time_ms: int) -> None:
    assert held(event(time=time)).time_ms == time_ms


@pytest.mark.parametrize(
    "time",
    [
        0,
        -1,
        31_535_999,
        31_535_999_999,
        1_790_003_601,
        1_790_003_600_001,
        10**30,
        10**400,
        "1789999990",
        "now",
        [],
        True,
    ],
)
def test_time_of_any_other_kind_is_wrong(time: Any) -> None:
    assert wrong(event(time=time)) == (Reason.INVALID_FIELD, "properties.time")


def test_time_beyond_what_a_number_can_be_is_wrong() -> None:
    record = b'{"event":"E","properties":{"time":1e999}}'
    assert wrong(record) == (Reason.INVALID_FIELD, "properties.time")


def test_time_may_be_missing() -> None:
    assert held(event()).time_ms is None
    assert held(event(time=None)).time_ms is None


@pytest.mark.parametrize(
    ("distinct_id", "is_anonymous"),
    [
        (DEVICE, True),
        (DEVICE.upper(), True),
        (f"$device:{DEVICE}", True),
        ("$device:anything", True),
        (UUID_V1, False),
        (DEVICE.replace("-", ""), False),
        (f"{DEVICE}x", False),
        ("u-1", False),
        ("user@example.com", False),
    ],
)
def test_uuid_of_version_4_or_a_device_counts_as_anonymous(distinct_id: str, is_anonymous: bool) -> None:
    assert counts_as_anonymous(distinct_id) is is_anonymous


IDS: dict[str, tuple[dict[str, Any], str | None, str | None]] = {
    "nobody": ({}, None, None),
    "empty": ({"distinct_id": ""}, None, None),
    "null": ({"distinct_id": None}, None, None),
    "user": ({"distinct_id": "u"}, None, "u"),
    "number": ({"distinct_id": 42}, None, "42"),
    "UUID": ({"distinct_id": DEVICE}, DEVICE, None),
    "device": ({"distinct_id": f"$device:{DEVICE}"}, DEVICE, None),
    "browser before login": ({"distinct_id": f"$device:{DEVICE}", "$device_id": DEVICE}, DEVICE, None),
    "browser after login": ({"distinct_id": "u", "$device_id": DEVICE, "$user_id": "u"}, DEVICE, "u"),
    "server, simplified": ({"$device_id": "d", "$user_id": "u"}, "d", "u"),
    "device alone": ({"$device_id": "d"}, "d", None),
    "user alone": ({"$user_id": "u"}, None, "u"),
    "device and distinct user": ({"distinct_id": "u", "$device_id": "d"}, "d", "u"),
    "distinct id is the device": ({"distinct_id": "d", "$device_id": "d"}, "d", None),
    "prefixed device": ({"$device_id": "$device:d", "$user_id": "u"}, "d", "u"),
    "user whose id is a UUID": ({"distinct_id": DEVICE, "$device_id": "d", "$user_id": DEVICE}, "d", DEVICE),
    "user whose id is a UUID, anywhere": ({"distinct_id": DEVICE, "$user_id": DEVICE}, None, DEVICE),
    "user beside an anonymous id": ({"distinct_id": f"$device:{DEVICE}", "$user_id": "u"}, DEVICE, "u"),
    "two users": ({"distinct_id": "other", "$user_id": "u"}, None, "u"),
    "two devices": ({"distinct_id": OTHER_DEVICE, "$device_id": DEVICE}, DEVICE, None),
}


@pytest.mark.parametrize(("properties", "anonymous_id", "user_id"), IDS.values(), ids=IDS)
def test_ids_say_who_it_was(properties: dict[str, Any], anonymous_id: str | None, user_id: str | None) -> None:
    record = held(event(**properties))
    assert (record.anonymous_id, record.user_id, record.type, record.name) == (
        anonymous_id,
        user_id,
        "track",
        "Signed Up",
    )


@pytest.mark.parametrize("anon_id", [DEVICE, f"$device:{DEVICE}"])
@pytest.mark.parametrize("distinct_id", [{}, {"distinct_id": "u"}])
def test_identify_of_the_original_merge_links_both_of_its_ids(anon_id: str, distinct_id: dict[str, str]) -> None:
    record = held(event("$identify", **{"$identified_id": "u", "$anon_id": anon_id}, **distinct_id))
    assert (record.type, record.name, record.anonymous_id, record.user_id) == ("identify", "$identify", DEVICE, "u")


@pytest.mark.parametrize("anon_id", ["NEW_ID", UUID_V1, DEVICE.replace("-", ""), "$device:d", f" {DEVICE}", 42])
def test_case_29_anon_id_must_be_a_uuid_of_version_4(anon_id: str | int) -> None:
    record = event("$identify", **{"$identified_id": "u", "$anon_id": anon_id})
    assert wrong(record) == (Reason.INVALID_FIELD, "properties.$anon_id")


@pytest.mark.parametrize(
    ("properties", "field"),
    [
        ({"$anon_id": DEVICE}, "properties.$identified_id"),
        ({"$anon_id": DEVICE, "$identified_id": ""}, "properties.$identified_id"),
        ({"$anon_id": DEVICE, "distinct_id": "u"}, "properties.$identified_id"),
        ({"$identified_id": "u"}, "properties.$anon_id"),
        ({"$identified_id": "u", "$anon_id": ""}, "properties.$anon_id"),
        ({}, "properties.$identified_id"),
        ({"distinct_id": f"$device:{DEVICE}"}, "properties.$identified_id"),
        ({"distinct_id": "u"}, "properties.$anon_id"),
    ],
)
def test_identify_needs_both_ids(properties: dict[str, Any], field: str) -> None:
    assert wrong(event("$identify", **properties)) == (Reason.MISSING_FIELD, field)


@pytest.mark.parametrize(
    "properties",
    [
        {"distinct_id": "u", "$device_id": DEVICE, "$user_id": "u"},
        {"distinct_id": "u", "$device_id": DEVICE, "$user_id": "u", "$anon_distinct_id": f"$device:{DEVICE}"},
        {"distinct_id": "u", "$anon_distinct_id": f"$device:{DEVICE}"},
        {"$device_id": DEVICE, "$user_id": "u"},
        {"distinct_id": "u", "$device_id": DEVICE},
    ],
)
def test_identify_of_the_simplified_merge_links_device_and_user(properties: dict[str, Any]) -> None:
    record = held(event("$identify", **properties))
    assert (record.type, record.name, record.anonymous_id, record.user_id) == ("identify", "$identify", DEVICE, "u")


ALIASES: dict[str, tuple[dict[str, Any], str | None, str, str]] = {
    "of a device": ({"distinct_id": DEVICE, "alias": "u"}, DEVICE, "u", DEVICE),
    "of a browser": ({"distinct_id": f"$device:{DEVICE}", "$device_id": DEVICE, "alias": "u"}, DEVICE, "u", DEVICE),
    "the other way round": ({"distinct_id": "u", "alias": DEVICE}, DEVICE, "u", DEVICE),
    "of a user": ({"distinct_id": "u1", "alias": "u2"}, None, "u1", "u2"),
    "numbers": ({"distinct_id": 1, "alias": 2}, None, "1", "2"),
    "of a user, at a device": ({"distinct_id": "u1", "$device_id": "d", "alias": "u2"}, "d", "u1", "u2"),
}


@pytest.mark.parametrize(("properties", "anonymous_id", "user_id", "previous_id"), ALIASES.values(), ids=ALIASES)
def test_create_alias_says_which_id_gives_way(
    properties: dict[str, Any], anonymous_id: str | None, user_id: str, previous_id: str
) -> None:
    record = held(event("$create_alias", **properties))
    assert (record.type, record.name) == ("alias", "$alias")
    assert (record.anonymous_id, record.user_id, record.previous_id) == (anonymous_id, user_id, previous_id)


@pytest.mark.parametrize(
    ("properties", "field"),
    [({"alias": "u"}, "properties.distinct_id"), ({"distinct_id": "u", "alias": ""}, "properties.alias")],
)
def test_create_alias_needs_both_ids(properties: dict[str, Any], field: str) -> None:
    assert wrong(event("$create_alias", **properties)) == (Reason.MISSING_FIELD, field)


MERGE = event("$merge", **{"$distinct_ids": ["u1", "u2"]})


def test_merge_is_taken_by_import_with_a_secret_key() -> None:
    record = held(MERGE, "import", "secret")
    assert (record.type, record.name, record.anonymous_id, record.user_id) == ("track", "$merge", None, None)


@pytest.mark.parametrize(("endpoint", "key_kind"), [("track", "public"), ("track", "secret"), ("import", "public")])
def test_case_31_merge_is_refused_elsewhere(endpoint: Endpoint, key_kind: KeyKind) -> None:
    assert wrong(MERGE, endpoint, key_kind) == (Reason.NEEDS_SECRET_KEY, "event")


@pytest.mark.parametrize("ids", [[], ["u1"], ["u1", "u2", "u3"], ["u1", ""], ["u1", 1.5], "u1", {}])
def test_merge_of_anything_but_two_ids_is_wrong(ids: Any) -> None:
    reason, field = wrong(event("$merge", **{"$distinct_ids": ids}), "import", "secret")
    assert reason is Reason.INVALID_FIELD
    assert field.startswith("properties.$distinct_ids")


def test_merge_without_ids_is_wrong() -> None:
    assert wrong(event("$merge"), "import", "secret") == (Reason.MISSING_FIELD, "properties.$distinct_ids")


RESERVED: dict[str, tuple[dict[str, Any], str | None, str | None]] = {
    "reset of a device": (event("$reset", **{"$device_id": "d"}), "d", None),
    "reset as other dialects name it": (event("$reset", anonymousId="d"), "d", None),
    "unalias": (event("$unalias", userId="u", previousId="p"), None, "u"),
    "unmerge": (event("$unmerge", **{"$distinct_ids": ["x", "y"]}), None, None),
}


@pytest.mark.parametrize(("record", "anonymous_id", "user_id"), RESERVED.values(), ids=RESERVED)
def test_reserved_events_need_no_more_than_their_own_ids(
    record: dict[str, Any], anonymous_id: str | None, user_id: str | None
) -> None:
    seen = held(record)
    assert (seen.type, seen.name, seen.anonymous_id, seen.user_id) == ("track", record["event"], anonymous_id, user_id)


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (event("$reset", distinct_id="u"), "properties.$device_id"),
        (event("$unalias", previousId="p"), "properties.userId"),
        (event("$unalias", userId="u"), "properties.previousId"),
        (event("$unmerge"), "properties.$distinct_ids"),
    ],
)
def test_reserved_events_without_their_ids_are_wrong(record: dict[str, Any], field: str) -> None:
    assert wrong(record) == (Reason.MISSING_FIELD, field)


@pytest.mark.parametrize("operation", [{"$set": {}}, {"$set_once": {"a": 1}}, {"$unset": ["a"]}, {"$unset": "a"}])
def test_operations_on_traits_identify_a_person_or_describe_a_group(operation: dict[str, Any]) -> None:
    person = held({"$token": "t", "$distinct_id": "u", "$time": 1_789_999_990.5, **operation}, "engage")
    assert (person.type, person.name, person.user_id, person.time_ms) == (
        "identify",
        "$identify",
        "u",
        1_789_999_990_500,
    )
    group = held({"$token": "t", "$group_key": "company", "$group_id": "Acme", **operation}, "groups")
    assert (group.type, group.name, group.anonymous_id, group.user_id) == ("group", "$group", None, None)


@pytest.mark.parametrize("operation", ["$add", "$append", "$union", "$remove", "$delete", "$increment"])
def test_any_other_operation_is_an_event_of_its_name(operation: str) -> None:
    update = {"$token": "t", "$ip": "0", "$distinct_id": DEVICE, "$ignore_time": True, operation: {"a": 1}}
    record = held(update, "engage")
    assert (record.type, record.name, record.anonymous_id) == ("track", operation, DEVICE)
    assert held({"$group_key": "k", "$group_id": 1, operation: ""}, "groups").name == operation


@pytest.mark.parametrize(
    ("endpoint", "update", "reason", "field"),
    [
        ("engage", b"[]", Reason.NOT_AN_OBJECT, ""),
        ("engage", {"$set": {}}, Reason.MISSING_FIELD, "$distinct_id"),
        ("engage", {"$distinct_id": "", "$set": {}}, Reason.MISSING_FIELD, "$distinct_id"),
        ("engage", {"$distinct_id": "u"}, Reason.MISSING_FIELD, "$set"),
        ("engage", {"$distinct_id": "u", "note": 1}, Reason.MISSING_FIELD, "$set"),
        ("engage", {"$distinct_id": "u", "$set": []}, Reason.INVALID_FIELD, "$set"),
        ("engage", {"$distinct_id": "u", "$set": None}, Reason.INVALID_FIELD, "$set"),
        ("engage", {"$distinct_id": "u", "$set_once": "a"}, Reason.INVALID_FIELD, "$set_once"),
        ("engage", {"$distinct_id": "u", "$unset": {"a": 1}}, Reason.INVALID_FIELD, "$unset"),
        ("engage", {"$distinct_id": "u", "$set": {}, "$time": 1}, Reason.INVALID_FIELD, "$time"),
        ("engage", {"$distinct_id": "u", "$set": {}, "$insert_id": "?"}, Reason.INVALID_FIELD, "$insert_id"),
        ("groups", {"$group_key": "k", "$set": {}}, Reason.MISSING_FIELD, "$group_id"),
        ("groups", {"$group_id": "g", "$set": {}}, Reason.MISSING_FIELD, "$group_key"),
    ],
)
def test_wrong_update_is_told_by_its_field(
    endpoint: Endpoint, update: dict[str, Any] | bytes, reason: Reason, field: str
) -> None:
    assert wrong(update, endpoint) == (reason, field)
