"""Millimetric as a pure function: what is published, byte for byte, and every error by its name."""

import json
from collections.abc import Mapping

import pytest

from ingress.contract import Accepted, Refused, Request
from ingress.errors import RETRY_AFTER_S, Problem
from ingress.millimetric import refusal, routes
from pipeline.directory import Directory
from pipeline.rules import Rules
from pipeline.settings import Settings
from pipeline.validate import validate
from tests.records import TestRecord
from topics.control import Key, KeyKind, Scope, encode, key_hash, key_hint
from topics.control import record_key as control_key
from topics.keys import record_key
from topics.raw import Dialect, Stamp, read_stamp
from topics.records import Record
from topics.stitched import StitchedEvent

NOW_MS = 1_790_000_000_000
SHOP = b"https://shop.example"
SECRET, PUBLIC, NO_ORIGINS = "sk_" + "ab" * 20, "pk_" + "cd" * 20, "pk_" + "ef" * 20
ADMIN, MISLABELLED = "sk_" + "12" * 20, "sk_" + "34" * 20
ROUTES = routes(Settings.model_validate({}), new_id=lambda: "assigned")
IDENTIFY: dict[str, object] = {"anonymous_id": "u_abc", "user_id": "user_42", "traits": {"plan": "pro"}}
TRACK: dict[str, object] = {"event": "signup", "event_id": "evt", "anonymous_id": "u_abc"}
BODIES: dict[str, dict[str, object]] = {"identify": IDENTIFY, "track": TRACK, "batch": {"events": [TRACK]}}


def key(secret: str, kind: KeyKind, scopes: tuple[Scope, ...] = ("ingest",), origins: tuple[str, ...] = ()) -> Key:
    return Key(key_hash(secret), key_hint(secret), "shop", kind, 1, scopes=scopes, origins=origins)


KEYS = (
    key(SECRET, "secret"),
    key(PUBLIC, "public", origins=(SHOP.decode(),)),
    key(NO_ORIGINS, "public"),
    key(ADMIN, "secret", scopes=("admin",)),
    key(MISLABELLED, "public"),
)
DIRECTORY = Directory().apply([(control_key(each), encode(each)) for each in KEYS])


def bearer(secret: str, **headers: bytes) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + secret.encode(), **{name.encode(): value for name, value in headers.items()}}


SECRETLY = bearer(SECRET)


def post(call: str, body: object, headers: Mapping[bytes, bytes] = SECRETLY, slash: str = "") -> Accepted | Refused:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(dict(headers), data, b"", "198.51.100.7")
    return ROUTES["POST", f"/v1/{call}{slash}"].handle(request, DIRECTORY, NOW_MS)


def accepted(outcome: Accepted | Refused, status: int, said: object) -> list[Record]:
    assert isinstance(outcome, Accepted), outcome.answer.body
    assert (outcome.answer.status, json.loads(outcome.answer.body)) == (status, said)
    return list(outcome.records)


def refused(outcome: Accepted | Refused) -> tuple[int, str]:
    assert isinstance(outcome, Refused)
    said = json.loads(outcome.answer.body)
    assert said.keys() == {"error", "details"}
    assert said["details"]["formErrors"] or said["details"]["fieldErrors"]
    return outcome.answer.status, said["error"]


def wrong(outcome: Accepted | Refused) -> dict[str, list[str]]:
    assert refused(outcome) == (400, "invalid_payload")
    fields: dict[str, list[str]] = json.loads(outcome.answer.body)["details"]["fieldErrors"]
    return fields


@pytest.mark.parametrize("slash", ["", "/"])
def test_identify_is_one_record_with_the_bytes_of_its_body(slash: str) -> None:
    body = b' {"anonymous_id" : "u_abc","user_id":"user_42", "traits":{"plan":"pr\\u006f"}}\n'
    outcome = post("identify", body, bearer(SECRET, **{"user-agent": b"UA/1"}), slash)
    ((record_key_, value, timestamp, headers),) = accepted(outcome, 200, {"ok": True})
    assert (record_key_, value, timestamp) == (record_key("shop", "u_abc", "user_42", "assigned"), body, NOW_MS)
    assert read_stamp(headers) == Stamp(
        "shop",
        "assigned",
        NOW_MS,
        dialect=Dialect.MILLIMETRIC,
        call="identify",
        key_kind="secret",
        ip="198.51.100.7",
        user_agent="UA/1",
    )


def test_track_answers_with_its_event_id() -> None:
    (record,) = accepted(post("track", TRACK), 202, {"ok": True, "event_id": "evt"})
    assert (read_stamp(record[3]).message_id, read_stamp(record[3]).call) == ("evt", "track")
    del (without := dict(TRACK))["event_id"]
    (record,) = accepted(post("track", without), 202, {"ok": True, "event_id": "assigned"})
    assert read_stamp(record[3]).message_id == "assigned"


@pytest.mark.parametrize("anonymous_id", [None, "", "absent"])
def test_missing_anonymous_id_is_made_of_the_event_id(anonymous_id: str | None) -> None:
    body: dict[str, object] = {"event": "E", "event_id": "evt", "anonymous_id": anonymous_id, "user_id": "U"}
    if anonymous_id == "absent":
        del body["anonymous_id"]
    first, again = (accepted(post("track", body), 202, {"ok": True, "event_id": "evt"})[0] for _ in range(2))
    assert first == again
    made_up = read_stamp(first[3]).anonymous_id
    assert made_up is not None
    assert "evt" in made_up
    assert first[0] == record_key("shop", made_up, "U", "evt")


def test_two_events_without_ids_do_not_become_one_visitor() -> None:
    table = routes(Settings.model_validate({}))
    request = Request(SECRETLY, b'{"events":[%b]}' % b",".join([b'{"event":"E"}'] * 1000), b"", None)
    outcome = table["POST", "/v1/batch"].handle(request, DIRECTORY, NOW_MS)
    stamps = [read_stamp(record[3]) for record in accepted(outcome, 202, {"ok": True, "count": 1000})]
    assert len({stamp.anonymous_id for stamp in stamps}) == len({stamp.message_id for stamp in stamps}) == 1000


@pytest.mark.parametrize("name", ["events", "batch"])
def test_batch_keeps_the_bytes_of_each_event(name: str) -> None:
    items = [b'{"event":"$pageview", "anonymous_id":"u_abc"}', b'{ "event":"click","event_id":"m2" }']
    records = accepted(post("batch", b'{"%b" : [ %b ,\n%b] }' % (name.encode(), *items)), 202, {"ok": True, "count": 2})
    assert [record[1] for record in records] == items
    assert [read_stamp(record[3]).message_id for record in records] == ["assigned", "m2"]
    assert {read_stamp(record[3]).call for record in records} == {"track"}


def test_empty_batch_is_taken_and_is_nothing() -> None:
    assert accepted(post("batch", {"events": []}), 202, {"ok": True, "count": 0}) == []


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_batch_is_refused_from_one_event_over_1000(over: int) -> None:
    outcome = post("batch", {"events": [TRACK] * (1000 + over)})
    if over > 0:
        assert wrong(outcome) == {"events": ["Expected `array` of length <= 1000"]}
    else:
        accepted(outcome, 202, {"ok": True, "count": 1000 + over})


def test_one_wrong_event_refuses_its_batch_and_says_which() -> None:
    events = [TRACK, {"event": ""}, TRACK, {"event": "E", "url": "x" * 2049, "user_id": 7}, 5]
    outcome = post("batch", {"events": events})
    assert wrong(outcome) == {
        "events.1.event": ["Expected `str` of length >= 1"],
        "events.3.url": ["Expected `str` of length <= 2048"],
        "events.3.user_id": ["Expected `str | null`, got `int`"],
        "events.4": ["Expected `object`, got `int`"],
    }


def test_answer_to_a_thousand_wrong_events_is_bounded() -> None:
    assert len(wrong(post("batch", {"events": [{}] * 1000}))) == 20


@pytest.mark.parametrize("body", [{}, {"events": None}, {"events": {}}, {"batch": "[]"}, [], 1])
def test_batch_without_an_array_is_refused(body: object) -> None:
    assert refused(post("batch", body)) == (400, "invalid_payload")


def test_what_is_wrong_is_told_by_field_and_never_with_its_value() -> None:
    outcome = post("identify", {"anonymous_id": 12345, "user_id": "confidential" * 30, "traits": ["confidential"]})
    assert wrong(outcome) == {
        "anonymous_id": ["Expected `str | null`, got `int`"],
        "user_id": ["Expected `str` of length <= 256"],
    }
    assert b"confidential" not in outcome.answer.body
    assert b"12345" not in outcome.answer.body
    assert wrong(post("identify", {})) == {"anonymous_id": ["Required"], "user_id": ["Required"]}
    assert wrong(post("track", {})) == {"event": ["Required"]}


DEEP = b"[" * 10_000 + b"]" * 10_000
GARBAGE = {
    "empty": b"",
    "truncated": b'{"event":"E"',
    "trailing": b"{} {}",
    "nan": b'{"event":"E","properties":{"x":NaN}}',
    "latin-1": b'{"event":"E","properties":{"x":"\xe9"}}',
    "array": b"[]",
    "number": b"1",
    "deep": b'{"event":"E","x":%b}' % DEEP,
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_an_invalid_payload(body: bytes) -> None:
    for call in BODIES:
        assert refused(post(call, body)) == (400, "invalid_payload")


def test_garbage_among_events_refuses_the_batch() -> None:
    for body in filter(None, GARBAGE.values()):
        assert refused(post("batch", b'{"events":[%b]}' % body)) == (400, "invalid_payload")


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_event_is_refused_from_one_byte_over_its_limit(over: int) -> None:
    frame = b'{"anonymous_id":"a","user_id":"u","traits":{"x":"%b"}}'
    body = frame % (b"y" * (32 * 1024 - len(frame) + 2 + over))
    outcome = post("identify", body)
    assert refused(outcome) == (400, "invalid_payload") if over > 0 else accepted(outcome, 200, {"ok": True})


def test_half_of_an_emoji_takes_neither_its_batch_nor_its_bytes() -> None:
    cut = rb'{"event":"E","event_id":"cut","properties":{"title":"cut \ud83d","text":"\\ud83d","whole":"\ud83d\ude00"}}'
    whole = b'{"event":"E","event_id":"whole"}'
    for name in (b"events", b"batch"):
        body = b'{"x":[], "%b": [%b,%b, %b]}' % (name, whole, cut, whole)
        assert [record[1] for record in accepted(post("batch", body), 202, {"ok": True, "count": 3})] == [
            whole,
            cut,
            whole,
        ]
    assert accepted(post("track", cut), 202, {"ok": True, "event_id": "cut"})[0][1] == cut


KEY_ERRORS: dict[str, tuple[dict[bytes, bytes], int, str]] = {
    "no header": ({}, 401, "missing_bearer_token"),
    "no token": ({b"authorization": b"Bearer "}, 401, "missing_bearer_token"),
    "basic": ({b"authorization": b"Basic c2tfMTo="}, 401, "missing_bearer_token"),
    "of another form": (bearer("eyJhbGciOi.J9"), 401, "malformed_api_key"),
    "prefix alone": (bearer("sk_"), 401, "malformed_api_key"),
    "not ascii": ({b"authorization": b"Bearer sk_\xe9"}, 401, "malformed_api_key"),
    "two words": (bearer("sk_a sk_b"), 401, "malformed_api_key"),
    "unknown": (bearer("sk_unknown"), 401, "invalid_api_key"),
    "unknown public": (bearer("pk_unknown", origin=SHOP), 401, "invalid_api_key"),
    "read only": (bearer("rk_live_99887766_x"), 401, "invalid_api_key"),
    "public key called secret": (bearer("sk_" + PUBLIC[3:]), 401, "key_kind_mismatch"),
    "secret key called public": (bearer("pk_" + SECRET[3:], origin=SHOP), 401, "key_kind_mismatch"),
    "kept as another kind": (bearer(MISLABELLED), 401, "key_kind_mismatch"),
    "without the scope": (bearer(ADMIN), 403, "insufficient_scope"),
    "public without origin": (bearer(PUBLIC), 403, "origin_not_allowed"),
    "public from elsewhere": (bearer(PUBLIC, origin=b"https://evil.example"), 403, "origin_not_allowed"),
    "public from its http": (bearer(PUBLIC, origin=b"http://shop.example"), 403, "origin_not_allowed"),
    "public from a file": (bearer(PUBLIC, origin=b"null"), 403, "origin_not_allowed"),
    "public that lists no origin": (bearer(NO_ORIGINS, origin=SHOP), 403, "origin_not_allowed"),
}


@pytest.mark.parametrize(("headers", "status", "error"), KEY_ERRORS.values(), ids=KEY_ERRORS)
@pytest.mark.parametrize("call", BODIES)
def test_each_fault_of_a_key_has_its_name(call: str, headers: dict[bytes, bytes], status: int, error: str) -> None:
    outcome = post(call, BODIES[call], headers)
    assert refused(outcome) == (status, error)


def test_refusal_never_repeats_the_key() -> None:
    for secret in ("sk_mistyped", "mistyped", "pk_mistyped"):
        assert b"mistyped" not in post("track", TRACK, bearer(secret)).answer.body


@pytest.mark.parametrize("call", BODIES)
def test_public_key_may_send_from_an_origin_that_it_lists(call: str) -> None:
    outcome = post(call, BODIES[call], bearer(PUBLIC, origin=SHOP))
    assert isinstance(outcome, Accepted)
    assert outcome.key == KEYS[1]
    assert read_stamp(outcome.records[0][3]).key_kind == "public"


def test_secret_key_may_send_from_anywhere() -> None:
    assert isinstance(post("track", TRACK, bearer(SECRET, origin=b"https://evil.example")), Accepted)


def test_key_is_looked_at_before_the_body() -> None:
    assert refused(post("track", b"{", {})) == (401, "missing_bearer_token")


APP_PROBLEMS = {
    Problem.RATE_LIMITED: (429, "rate_limited"),
    Problem.INTERNAL_ERROR: (500, "internal_error"),
    Problem.KAFKA_UNAVAILABLE: (503, "internal_error"),
    Problem.KAFKA_SLOW: (503, "internal_error"),
    Problem.OVERLOADED: (503, "internal_error"),
    Problem.BODY_TOO_LARGE: (413, "invalid_payload"),
    Problem.UNSUPPORTED_ENCODING: (415, "invalid_payload"),
    Problem.BODY_TIMEOUT: (408, "invalid_payload"),
}


@pytest.mark.parametrize(("problem", "said"), APP_PROBLEMS.items(), ids=lambda each: getattr(each, "tag", ""))
def test_what_the_app_finds_is_said_in_millimetrics_words(problem: Problem, said: tuple[int, str]) -> None:
    answer = refusal(problem)
    assert refused(Refused(answer)) == said
    assert ((b"retry-after", b"%d" % RETRY_AFTER_S) in answer.headers) is (answer.status == 503)


@pytest.mark.parametrize("call", ["identify", "track"])
def test_what_is_taken_at_once_is_an_event_in_the_pipeline(call: str) -> None:
    """The largest that the rules allow: nothing is answered 2xx and refused afterwards."""
    longest: dict[str, object] = {
        "event": "é" * 128,
        "event_id": "é" * 128,
        "anonymous_id": "é" * 128,
        "user_id": "é" * 256,
        "session_id": "é" * 128,
        "timestamp": "2026-05-16T19:00:00Z",
        "properties": {"x": "y" * 8000},
        "traits": {"x": "y" * 8000},
    }
    outcome = post(call, longest)
    assert isinstance(outcome, Accepted)
    ((key_, value, timestamp, headers),) = outcome.records
    record = TestRecord(value=value, headers=headers, key=key_, timestamp=timestamp)
    assert isinstance(validate(record, Rules([], max_event_bytes=32 * 1024)), StitchedEvent)
