"""What a call of the Segment family means: each rule of its services, as the event that is stored."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from pipeline.outcome import Rejected
from pipeline.rules import Rules
from pipeline.validate import validate
from tests.records import START_MS, only_link, raw_call
from topics.control import Project
from topics.links import LinkKind
from topics.rejected import Reason
from topics.stitched import StitchedEvent, decode, decode_receipt, encode

RULES = Rules([], max_event_bytes=32 * 1024)
TRACK: dict[str, object] = {"type": "track", "event": "E", "anonymousId": "A"}
IDENTIFY: dict[str, object] = {"type": "identify", "userId": "U"}
RUDDER = {"library": {"name": "RudderLabs JavaScript SDK", "version": "3.7.1"}}
DOCS = Path(__file__).parents[2] / "docs"


def event(body: dict[str, object] | bytes, rules: Rules = RULES, **stamp: object) -> StitchedEvent:
    outcome = validate(raw_call(body, **stamp), rules)  # type: ignore[arg-type]
    assert isinstance(outcome, StitchedEvent), outcome
    return outcome


def refused(body: dict[str, object] | bytes, **stamp: object) -> Rejected:
    outcome = validate(raw_call(body, **stamp), RULES)  # type: ignore[arg-type]
    assert isinstance(outcome, Rejected), outcome
    return outcome


def columns(seen: StitchedEvent, *names: str) -> tuple[object, ...]:
    return tuple(getattr(seen, name) for name in names)


def read(seen: StitchedEvent, column: str) -> object:
    return json.loads(bytes(getattr(seen, column)))


def test_an_identify_stores_its_traits_in_one_spelling_and_what_was_sent() -> None:
    seen = event({**IDENTIFY, "traits": {"first_name": "Peter", "last_name": "Gibbons", "age": "36"}})
    assert read(seen, "traits") == {"firstName": "Peter", "lastName": "Gibbons", "age": "36", "name": "Peter Gibbons"}
    assert seen.warnings == ("trait_type:age",)
    assert json.loads(bytes(seen.raw))["traits"] == {"first_name": "Peter", "last_name": "Gibbons", "age": "36"}


@pytest.mark.parametrize(
    ("fields", "traits"),
    [
        ({"context": {"traits": {"first_name": "Peter"}}}, {"firstName": "Peter"}),
        ({"context": {"traits": {"email": "context@example.com"}}, "traits": {}}, {"email": "context@example.com"}),
        (
            {"context": {"traits": {"email": "context@example.com", "age": 3}}, "traits": {"email": "own@example.com"}},
            {"email": "own@example.com", "age": 3},
        ),
        ({"context": {"traits": {"firstName": "old"}}, "traits": {"first_name": "own"}}, {"firstName": "own"}),
        ({"context": {"traits": None}, "traits": {"age": 3}}, {"age": 3}),
    ],
)
def test_traits_of_an_identify_may_stand_in_its_context_and_its_own_win(
    fields: dict[str, object], traits: object
) -> None:
    assert read(event({**IDENTIFY, **fields}), "traits") == traits


def test_traits_in_the_context_of_another_call_stay_there() -> None:
    seen = event({**TRACK, "context": {"traits": {"email": "a@example.com"}}})
    assert read(seen, "traits") == {}
    assert read(seen, "context") == {"traits": {"email": "a@example.com"}}


def test_traits_in_the_context_that_are_no_object_are_a_warning() -> None:
    assert event({**IDENTIFY, "context": {"traits": [1]}}).warnings == ("context.traits_not_an_object",)


def test_a_groups_traits_are_stored_with_its_id() -> None:
    seen = event(
        {"type": "group", "userId": "U", "groupId": "G", "traits": {"name": "Initech", "created_at": "2015-02-23"}}
    )
    assert read(seen, "traits") == {"name": "Initech", "createdAt": "2015-02-23"}
    assert read(seen, "properties") == {"groupId": "G"}


WHO: dict[str, tuple[dict[str, object], tuple[str | None, str | None]]] = {
    "both": ({"userId": "U", "anonymousId": "A"}, ("A", "U")),
    "a number": ({"userId": 97980, "anonymousId": 1}, ("1", "97980")),
    "anonymous": ({"anonymousId": "A", "traits": {"email": "a@example.com"}}, ("A", None)),
    "null before login": ({"userId": None, "anonymousId": "A", "traits": {"email": "a@example.com"}}, ("A", None)),
    "empty": ({"userId": "", "traits": {"email": "a@example.com"}}, (None, "a@example.com")),
    "empty beside an anonymous id": (
        {"userId": "", "anonymousId": "A", "traits": {"email": "a@example.com"}},
        ("A", "a@example.com"),
    ),
    "null and nothing else": ({"userId": None, "traits": {"email": "a@example.com"}}, (None, "a@example.com")),
    "absent and nothing else": ({"traits": {"email": "a@example.com"}}, (None, "a@example.com")),
    "in the context": ({"userId": "", "context": {"traits": {"email": "a@example.com"}}}, (None, "a@example.com")),
    "no e-mail address": ({"userId": "", "anonymousId": "A", "traits": {"email": "nobody"}}, ("A", None)),
    "RudderStack before login": (
        {"userId": "", "anonymousId": "A", "context": {**RUDDER, "traits": {"email": "a@example.com"}}},
        ("A", None),
    ),
    "RudderStack and nothing else": (
        {"userId": "", "context": {**RUDDER, "traits": {"email": "a@example.com"}}},
        (None, "a@example.com"),
    ),
}


@pytest.mark.parametrize("name", WHO)
def test_an_empty_user_id_of_an_identify_gives_way_to_its_email(name: str) -> None:
    fields, who = WHO[name]
    seen = event({"type": "identify", **fields})
    assert columns(seen, "anonymous_id", "user_id") == who
    assert seen.stitched_user_id == seen.user_id
    assert ("user_id_from_email" in seen.warnings) == (who[1] == "a@example.com")


def test_only_an_identify_takes_its_user_from_an_email() -> None:
    seen = event({**TRACK, "userId": "", "traits": {"email": "a@example.com"}})
    assert columns(seen, "anonymous_id", "user_id") == ("A", None)


def test_an_email_as_user_id_is_a_trait_of_an_identify_only() -> None:
    assert read(event({**IDENTIFY, "userId": "a@example.com"}), "traits") == {"email": "a@example.com"}
    assert read(event({**TRACK, "userId": "a@example.com"}), "traits") == {}


def test_an_identify_without_any_id_or_email_is_refused() -> None:
    assert refused({"type": "identify", "traits": {"plan": "pro"}}).reason is Reason.MISSING_ID


@pytest.mark.parametrize("version", [0, 2, "1.1", None, {}])
def test_what_only_the_server_may_say_is_kept_as_sent_and_not_believed(version: object) -> None:
    seen = event({**TRACK, "version": version, "receivedAt": "2019-08-24T14:15:22Z"})
    assert columns(seen, "received_at", "timestamp", "warnings") == (START_MS / 1000, START_MS / 1000, ())
    assert json.loads(bytes(seen.raw))["receivedAt"] == "2019-08-24T14:15:22Z"
    assert json.loads(bytes(seen.raw))["version"] == version


@pytest.mark.parametrize(
    ("times", "timestamp_ms"),
    [
        ({"timestamp": "2026-09-21T14:13:10Z", "sentAt": "2026-09-21T14:13:19Z"}, START_MS - 9_000),
        ({"originalTimestamp": "2026-09-21T14:13:10Z", "sentAt": "2026-09-21T14:13:19Z"}, START_MS - 9_000),
        ({"timestamp": "2026-09-21T14:13:10+00:00", "sentAt": "2026-09-21T14:13:19.000000+00:00"}, START_MS - 9_000),
        ({"timestamp": ""}, START_MS),
        ({"timestamp": 0}, START_MS),
        ({"timestamp": None}, START_MS),
        ({}, START_MS),
        ({"timestamp": "2030-01-01T00:00:00Z"}, START_MS),
        ({"timestamp": "2026-09-21T14:13:10"}, START_MS - 10_000),
    ],
)
def test_the_clients_clock_is_corrected_from_any_of_its_forms(times: dict[str, object], timestamp_ms: int) -> None:
    seen = event({**TRACK, **times})
    assert seen.timestamp == timestamp_ms / 1000
    assert seen.warnings == ()


def test_the_batchs_sent_at_counts_where_the_event_has_none() -> None:
    seen = event({**TRACK, "timestamp": "2026-09-21T14:13:10Z"}, sent_at="2026-09-21T14:13:19Z")
    assert columns(seen, "timestamp", "sent_at") == (START_MS / 1000 - 9, START_MS / 1000 - 1)


@pytest.mark.parametrize("written", ["1" + "0" * 400, "-1e308", "1e300", '"soon"'])
def test_a_time_that_is_none_is_a_warning(written: str) -> None:
    seen = event(b'{"type":"track","event":"E","anonymousId":"A","timestamp":%s}' % written.encode())
    assert columns(seen, "timestamp", "original_timestamp", "warnings") == (
        START_MS / 1000,
        None,
        ("timestamp_unreadable",),
    )


CHANNELS: dict[str, tuple[dict[str, object], object, tuple[str, ...]]] = {
    "at top level": ({"channel": "browser"}, {"channel": "browser"}, ()),
    "in the context": ({"context": {"channel": "server"}}, {"channel": "server"}, ()),
    "in both": ({"channel": "browser", "context": {"channel": "mobile"}}, {"channel": "mobile"}, ()),
    "null in the context": ({"channel": "browser", "context": {"channel": None}}, {"channel": "browser"}, ()),
    "RudderStack's": ({"channel": "web", "context": {"a": 1}}, {"channel": "web", "a": 1}, ()),
    "unknown": ({"channel": "pigeon"}, {"channel": "pigeon"}, ("channel_unknown",)),
    "unknown in the context": ({"context": {"channel": "pigeon"}}, {"channel": "pigeon"}, ("channel_unknown",)),
    "no text": ({"channel": 7}, {}, ("context_type:channel",)),
    "no text in the context": ({"context": {"channel": 7}}, {"channel": 7}, ("context_type:channel",)),
    "null": ({"channel": None}, {}, ()),
    "empty": ({"channel": ""}, {}, ()),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_the_channel_stands_in_the_context_wherever_it_was_sent(name: str) -> None:
    fields, context, warnings = CHANNELS[name]
    seen = event({**TRACK, **fields})
    assert read(seen, "context") == context
    assert seen.warnings == warnings


def test_an_events_own_channel_wins_over_its_batchs() -> None:
    seen = event({**TRACK, "channel": "mobile"}, context=Raw(b'{"channel":"server","locale":"de"}'))
    assert read(seen, "context") == {"channel": "mobile", "locale": "de"}


CAPTURED: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "nothing said": ({}, {"ip": "1.2.3.4", "userAgent": "UA"}),
    "empty context": ({"context": {}}, {"ip": "1.2.3.4", "userAgent": "UA"}),
    "null": ({"context": {"ip": None, "userAgent": None}}, {"ip": "1.2.3.4", "userAgent": "UA"}),
    "empty": ({"context": {"ip": "", "userAgent": ""}}, {"ip": "1.2.3.4", "userAgent": "UA"}),
    "own": ({"context": {"ip": "9.9.9.9", "userAgent": "own"}}, {"ip": "9.9.9.9", "userAgent": "own"}),
    "own agent": ({"context": {"userAgent": "own"}}, {"ip": "1.2.3.4", "userAgent": "own"}),
    "a wrong type": ({"context": {"ip": 7}}, {"ip": "1.2.3.4", "userAgent": "UA"}),
}


@pytest.mark.parametrize("name", CAPTURED)
def test_address_and_user_agent_are_captured_from_client_side_calls_only(name: str) -> None:
    fields, context = CAPTURED[name]
    body = {**TRACK, **fields}
    assert read(event(body, ip="1.2.3.4", user_agent="UA"), "context") == context
    secret = event(body, ip="1.2.3.4", user_agent="UA", key_kind="secret")
    assert read(secret, "context") == fields.get("context", {})


@pytest.mark.parametrize(
    ("context", "warnings"),
    [
        ({"ip": 7, "library": "x", "locale": 3}, ("context_type:ip", "context_type:library")),
        ({"active": "yes"}, ("context_type:active",)),
        ({"sessionId": {}, "userAgent": 1}, ("context_type:sessionId", "context_type:userAgent")),
        ({"library": {"name": 1}}, ("context_type:library",)),
    ],
)
def test_what_is_of_a_wrong_type_in_a_context_is_told_by_its_name_and_kept(
    context: dict[str, object], warnings: tuple[str, ...]
) -> None:
    seen = event({**TRACK, "context": context})
    assert read(seen, "context") == context
    assert seen.warnings == warnings


def test_what_is_right_in_a_context_is_read_beside_what_is_wrong() -> None:
    seen = event({**TRACK, "context": {"ip": 7, "library": {"name": "lib", "version": "1"}, "sessionId": 5}})
    assert columns(seen, "library", "session_id") == ("lib/1", "5")


CONTEXT: dict[str, object] = {
    "active": False,
    "ip": "8.8.8.8",
    "locale": "en-US",
    "userAgent": "UA",
    "channel": "browser",
    "campaign": {"name": "n", "source": "s", "medium": "m", "term": "t", "content": "c", "id": "further"},
    "page": {
        "name": "reserved",
        "path": "/",
        "referrer": "",
        "search": "?q",
        "title": "t",
        "url": "https://example.com/",
        "keywords": ["a", "b"],
    },
    "app": {"name": "a", "version": "1", "build": 1},
    "device": {"id": "d", "type": "ios"},
    "library": {"name": "lib", "version": "1"},
    "network": {"wifi": True},
    "os": {"name": "iOS", "version": "1"},
    "referrer": {"id": "r"},
    "screen": {"density": 2, "height": 1, "width": 1},
    "timezone": "Europe/Amsterdam",
    "groupId": "G",
    "traits": {"plan": "pro"},
}


def test_every_field_of_a_context_is_stored_as_it_was_sent() -> None:
    seen = event({**TRACK, "context": CONTEXT}, ip="1.2.3.4", user_agent="other")
    assert read(seen, "context") == CONTEXT
    assert seen.warnings == ()


@pytest.mark.parametrize("integrations", [{}, {"All": True}, {"All": False, "Mixpanel": True, "X": {"id": 7}}])
def test_the_integrations_map_is_kept(integrations: object) -> None:
    assert read(event({**TRACK, "integrations": integrations}), "integrations") == integrations


@pytest.mark.parametrize("kind", ["page", "screen"])
@pytest.mark.parametrize(
    ("fields", "properties"),
    [
        ({"name": "Home", "category": "Docs"}, {"name": "Home", "category": "Docs"}),
        ({"name": "Home", "properties": {"title": "T"}}, {"name": "Home", "title": "T"}),
        ({"name": None, "properties": {"title": "T"}}, {"title": "T"}),
        ({"name": 404}, {"name": 404}),
        ({}, {}),
    ],
)
def test_the_name_of_a_page_or_screen_stands_in_its_properties(
    kind: str, fields: dict[str, object], properties: object
) -> None:
    assert read(event({"type": kind, "anonymousId": "A", **fields}), "properties") == properties


def test_a_repeated_identify_states_the_same_fact_of_the_same_owner() -> None:
    facts = [only_link(event({**IDENTIFY, "anonymousId": "A"}, message_id=name), RULES) for name in ("m1", "m2")]
    assert [fact and (fact.anonymous_id, fact.user_id, fact.kind) for fact in facts] == [("A", "U", LinkKind.EXACT)] * 2


RESERVED: dict[str, dict[str, object]] = {
    "$reset": {"event": "$reset", "anonymousId": "A"},
    "$merge": {"event": "$merge", "properties": {"$distinct_ids": ["x", "y"]}},
    "$unmerge": {"event": "$unmerge", "properties": {"$distinct_ids": ["x", 7]}},
    "$unalias": {"event": "$unalias", "userId": "u", "previousId": "p"},
    "$unalias in the properties": {"event": "$unalias", "properties": {"userId": "u", "previousId": "p"}},
}


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_events_need_no_id_beside_those_they_carry(name: str) -> None:
    seen = event({"type": "track", **RESERVED[name]}, key_kind="secret")
    assert (seen.type, seen.warnings) == ("track", ())
    assert not (seen.anonymous_id or "").startswith("$blocked:")


def test_an_unalias_has_its_ids_where_an_alias_has_them() -> None:
    for body in (RESERVED["$unalias"], RESERVED["$unalias in the properties"]):
        seen = event({"type": "track", **body}, key_kind="secret")
        assert (seen.user_id, seen.stitched_user_id) == ("u", "u")
        properties = read(seen, "properties")
        assert isinstance(properties, dict)
        assert properties["previousId"] == "p"


REFUSED: dict[str, tuple[dict[str, object], Reason]] = {
    "a reset of nobody": ({"event": "$reset", "userId": "u"}, Reason.MISSING_FIELD),
    "a merge of nobody": ({"event": "$merge", "userId": "u"}, Reason.MISSING_FIELD),
    "a merge of one": ({"event": "$merge", "properties": {"$distinct_ids": ["x"]}}, Reason.MISSING_FIELD),
    "a merge of three": ({"event": "$merge", "properties": {"$distinct_ids": [1, 2, 3]}}, Reason.MISSING_FIELD),
    "a merge with nothing": ({"event": "$merge", "properties": {"$distinct_ids": ["x", " "]}}, Reason.MISSING_FIELD),
    "an unmerge of objects": ({"event": "$unmerge", "properties": {"$distinct_ids": [{}, 1]}}, Reason.INVALID_FIELD),
    "a merge of a text": ({"event": "$merge", "properties": {"$distinct_ids": "xy"}}, Reason.INVALID_FIELD),
    "an unalias of nobody": ({"event": "$unalias", "previousId": "p", "anonymousId": "A"}, Reason.MISSING_FIELD),
    "an unalias from nobody": ({"event": "$unalias", "userId": "u"}, Reason.MISSING_FIELD),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_reserved_event_without_its_ids_is_refused(name: str) -> None:
    body, reason = REFUSED[name]
    assert refused({"type": "track", **body}, key_kind="secret").reason is reason


def test_a_reset_states_a_fact_and_ties_no_users() -> None:
    seen = event({"type": "track", **RESERVED["$reset"]}, key_kind="public")
    fact = only_link(seen, RULES)
    assert fact is not None
    assert (fact.kind, fact.user_id, seen.warnings) == (LinkKind.RESET, None, ())


BETWEEN_USERS: list[dict[str, object]] = [
    {"type": "alias", "userId": "u", "previousId": "p"},
    {"type": "alias", "userId": "u", "previousId": "p", "anonymousId": "A"},
    *({"type": "track", **body} for name, body in RESERVED.items() if name != "$reset"),
]


@pytest.mark.parametrize("body", BETWEEN_USERS, ids=lambda body: str(body.get("event", "alias")))
def test_a_public_key_ties_two_users_only_where_the_project_allows_it(body: dict[str, object]) -> None:
    allowing = Rules([Project("p", 0, public_user_edges=True)], max_event_bytes=1000)
    assert event(body, key_kind="public").warnings == ("edge_needs_secret_key",)
    assert event(body, key_kind="secret").warnings == ()
    assert event(body, allowing, key_kind="public").warnings == ()


def test_an_alias_of_its_own_anonymous_id_ties_no_users() -> None:
    seen = event({"type": "alias", "userId": "u", "previousId": "A", "anonymousId": "A"}, key_kind="public")
    assert seen.warnings == ()
    fact = only_link(seen, RULES)
    assert fact is not None
    assert (fact.anonymous_id, fact.user_id) == ("A", "u")


HALVES = {
    "a value": (rb'{"type":"track","event":"E","anonymousId":"A","properties":{"x":"cut \ud83d"}}', "x", "cut �"),
    "a name": (rb'{"type":"track","event":"E","anonymousId":"A","properties":{"\udc00":1}}', "�", 1),
    "beside a whole": (
        rb'{"type":"track","event":"E","anonymousId":"A","properties":{"x":"\ud83d\ude00\ud83d"}}',
        "x",
        "😀�",
    ),
    "beside what only looks like one": (
        rb'{"type":"track","event":"E","anonymousId":"A","properties":{"x":"\\ud83d \ude00"}}',
        "x",
        "\\ud83d �",
    ),
}


@pytest.mark.parametrize("name", HALVES)
def test_half_a_surrogate_pair_is_read_as_a_replacement_and_kept_as_sent(name: str) -> None:
    body, member, value = HALVES[name]
    seen = event(body)
    properties = read(seen, "properties")
    assert isinstance(properties, dict)
    assert properties[member] == value
    assert seen.warnings == ("half_surrogate_pair",)
    assert read(seen, "raw") == body.decode()


def test_an_event_with_half_a_surrogate_pair_can_be_read_from_its_topic() -> None:
    written = encode(event(HALVES["a value"][0]))
    assert decode_receipt(written).message_id == "m0"
    assert decode(written).event_name == "E"


def test_halves_in_ids_and_names_are_replaced_too() -> None:
    seen = event(rb'{"type":"track","event":"E\ud83d","anonymousId":"A\udc00"}')
    assert columns(seen, "event_name", "anonymous_id") == ("E�", "A�")


@pytest.mark.parametrize(
    "body",
    [
        rb'{"type":"track","event":"\ud83d","anonymousId":',
        b'{"type":"track","event":"\\ud83d\xff","anonymousId":"A"}',
    ],
)
def test_what_is_broken_besides_is_refused(body: bytes) -> None:
    assert refused(body).reason is Reason.INVALID_JSON


CLIENTS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "analytics.js before login": (
        {
            "timestamp": "2026-09-21T14:13:19.900Z",
            "integrations": {},
            "type": "track",
            "event": "E",
            "userId": None,
            "anonymousId": "A",
            "properties": {},
            "context": {"page": {"path": "/"}, "library": {"name": "analytics.js", "version": "npm:next-1.83.0"}},
            "messageId": "ajs-next-1",
            "writeKey": "k",
            "sentAt": "2026-09-21T14:13:19.905Z",
            "_metadata": {"bundled": ["Segment.io"], "unbundled": [], "bundledIds": []},
        },
        {"user_id": None, "anonymous_id": "A", "library": "analytics.js/npm:next-1.83.0", "warnings": ()},
    ),
    "analytics.js alias": (
        {"type": "alias", "userId": "U", "previousId": "A", "anonymousId": "A", "_metadata": {}},
        {"type": "alias", "user_id": "U", "anonymous_id": "A", "warnings": ()},
    ),
    "analytics-node": (
        {
            "type": "track",
            "event": "E",
            "userId": "U",
            "properties": {},
            "context": {"library": {"name": "@segment/analytics-node", "version": "2.3.0"}},
            "timestamp": "2026-09-21T14:13:19.900Z",
            "messageId": "node-next-1",
            "integrations": {},
            "_metadata": {"nodeVersion": "22.0.0", "jsRuntime": "node"},
        },
        {"user_id": "U", "anonymous_id": None, "library": "@segment/analytics-node/2.3.0", "warnings": ()},
    ),
    "segment-analytics-python": (
        {
            "integrations": {},
            "anonymousId": None,
            "timestamp": "2026-09-21T14:13:19.900000+00:00",
            "sentAt": "2026-09-21T14:13:19.905123",
            "type": "identify",
            "userId": "U",
            "traits": {"created_at": "2026-09-21T14:13:19.900123"},
            "context": {"library": {"name": "analytics-python", "version": "2.3.4"}},
        },
        {"user_id": "U", "anonymous_id": None, "warnings": (), "timestamp": START_MS / 1000 - 0.005},
    ),
    "RudderStack before login": (
        {
            "channel": "web",
            "context": {**RUDDER, "sessionId": 1790000000123, "traits": {}, "page": {"path": "/"}},
            "type": "track",
            "event": "E",
            "originalTimestamp": "2026-09-21T14:13:19.900Z",
            "sentAt": "2026-09-21T14:13:19.905Z",
            "integrations": {"All": True},
            "messageId": "r1",
            "anonymousId": "A",
            "userId": "",
            "properties": {},
        },
        {
            "user_id": None,
            "anonymous_id": "A",
            "warnings": (),
            "session_id": "1790000000123",
            "timestamp": START_MS / 1000 - 0.005,
        },
    ),
    "RudderStack node identify": (
        {
            "channel": "server",
            "type": "identify",
            "userId": "U",
            "traits": {"firstName": "a"},
            "context": {
                "library": {"name": "@rudderstack/rudder-sdk-node", "version": "3"},
                "traits": {"firstName": "a"},
            },
            "originalTimestamp": "2026-09-21T14:13:19.900Z",
            "_metadata": {"nodeVersion": "22.0.0"},
        },
        {"user_id": "U", "warnings": (), "library": "@rudderstack/rudder-sdk-node/3"},
    ),
    "Customer.io node": (
        {
            "type": "identify",
            "userId": "a@example.com",
            "traits": {"created_at": 1790000000},
            "timestamp": "2026-09-21T14:13:19.900Z",
            "messageId": "c1",
        },
        {"user_id": "a@example.com", "anonymous_id": None, "warnings": (), "sent_at": None},
    ),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_what_real_clients_send_becomes_an_event_without_a_warning(name: str) -> None:
    body, expected = CLIENTS[name]
    seen = event(body)
    assert {column: getattr(seen, column) for column in expected} == expected


NAMES = st.sampled_from(
    [
        *("type", "event", "userId", "anonymousId", "previousId", "groupId", "name", "category", "channel"),
        *("timestamp", "originalTimestamp", "sentAt", "properties", "traits", "context", "integrations"),
        *("ip", "userAgent", "sessionId", "library", "version", "active", "$distinct_ids"),
        *("email", "first_name", "firstName", "last_name", "address", "postal_code", "company", "createdAt", "age"),
    ]
)
WORDS = st.sampled_from(["track", "identify", "alias", "$merge", "$reset", "$unalias", "a@example.com", "2015-02-23"])
NUMBERS = st.integers() | st.integers(10**300, 10**400) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(NAMES, VALUES, max_size=10),
    st.sampled_from(["identify", "track", "page", "group", "alias", ""]),
    st.sampled_from(["public", "secret"]),
)
def test_whatever_stands_where_it_is_an_event_or_a_refusal(body: dict[str, object], call: str, key_kind: str) -> None:
    outcome = validate(raw_call(body, message_id="m", call=call, key_kind=key_kind, ip="1.2.3.4"), RULES)
    if isinstance(outcome, StitchedEvent):
        assert bytes(decode(encode(outcome)).raw) == json.dumps(body).encode()
    else:
        assert outcome.reason in Reason


PLAIN_WARNINGS = {
    *("properties_not_an_object", "traits_not_an_object", "context_not_an_object", "integrations_not_an_object"),
    *("context.traits_not_an_object", "timestamp_unreadable", "sentAt_unreadable", "channel_unknown"),
    *("user_id_from_email", "half_surrogate_pair", "edge_needs_secret_key"),
    *("blocked_user_id", "blocked_anonymous_id"),
    *("trait_type:", "trait_twice:", "context_type:"),
}


@pytest.mark.parametrize("warning", sorted(PLAIN_WARNINGS))
def test_each_warning_is_documented(warning: str) -> None:
    assert f"`{warning}" in (DOCS / "segment.md").read_text()
