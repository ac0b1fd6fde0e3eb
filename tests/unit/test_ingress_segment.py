"""The Segment family as a pure function: what is published, byte for byte, and what is answered at once."""

import base64
import json
from collections.abc import Mapping

import pytest

from ingress.contract import Accepted, Refused, Request
from ingress.segment import routes
from pipeline.directory import Directory
from pipeline.settings import Settings
from topics.control import Key, encode, key_hash, key_hint
from topics.control import record_key as control_key
from topics.keys import record_key
from topics.raw import Stamp, read_stamp
from topics.records import Record

NOW_MS = 1_790_000_000_000
SECRET = "sk_" + "ab" * 20
ADMIN_ONLY = "sk_" + "cd" * 20
BASIC = {b"authorization": b"Basic " + base64.b64encode(SECRET.encode() + b":")}
ROUTES = routes(Settings.model_validate({}), new_id=lambda: "assigned")


def directory() -> Directory:
    key = Key(key_hash(SECRET), key_hint(SECRET), "shop", "secret", 1)
    admin = Key(key_hash(ADMIN_ONLY), key_hint(ADMIN_ONLY), "shop", "secret", 1, scopes=("admin",))
    return Directory().apply([(control_key(each), encode(each)) for each in (key, admin)])


def post(path: str, body: bytes, headers: Mapping[bytes, bytes] = BASIC, **settings: int) -> Accepted | Refused:
    table = routes(Settings.model_validate(settings), new_id=lambda: "assigned") if settings else ROUTES
    request = Request(dict(headers), body, b"", "198.51.100.7")
    return table["POST", path].handle(request, directory(), NOW_MS)


def accepted(outcome: Accepted | Refused) -> list[Record]:
    assert isinstance(outcome, Accepted), outcome.answer.body
    assert (outcome.answer.status, outcome.answer.body) == (200, b'{"success":true}')
    return list(outcome.records)


def refused(outcome: Accepted | Refused) -> tuple[int, str]:
    assert isinstance(outcome, Refused)
    said = json.loads(outcome.answer.body)
    assert said["success"] is False
    assert said["message"]
    return outcome.answer.status, said["code"]


def stamp_of(record: Record) -> Stamp:
    return read_stamp(record[3])


@pytest.mark.parametrize("call", ["identify", "track", "page", "screen", "group", "alias"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_single_call_is_one_record_with_the_bytes_of_its_body(call: str, slash: str) -> None:
    body = b' {"userId" : "u\\u0031", "anonymousId":"a", "messageId":"m", "x":1.50e+02}\n'
    ((key, value, timestamp, headers),) = accepted(post(f"/v1/{call}{slash}", body, {**BASIC, b"user-agent": b"UA/1"}))
    assert value == body
    assert key == record_key("shop", "a", "u1", "m")
    assert timestamp == NOW_MS
    assert read_stamp(headers) == Stamp(
        "shop", "m", NOW_MS, call=call, key_kind="secret", ip="198.51.100.7", user_agent="UA/1"
    )


@pytest.mark.parametrize(
    ("given", "message_id"),
    [
        ('"m-1"', "m-1"),
        ("17", "17"),
        ("0", "0"),
        ('""', "assigned"),
        ("null", "assigned"),
        ("{}", "assigned"),
        ("1.5", "assigned"),
        ("true", "assigned"),
    ],
)
def test_message_id_is_the_clients_where_it_can_be_one(given: str, message_id: str) -> None:
    (record,) = accepted(post("/v1/track", b'{"userId":"u","messageId":%b}' % given.encode()))
    assert stamp_of(record).message_id == message_id


def test_missing_message_id_is_assigned_and_unlike_any_other() -> None:
    table = routes(Settings.model_validate({}))
    request = Request(dict(BASIC), b'{"batch":[%b]}' % b",".join([b"{}"] * 1000), b"", None)
    records = accepted(table["POST", "/v1/batch"].handle(request, directory(), NOW_MS))
    assert len({stamp_of(record).message_id for record in records}) == 1000


@pytest.mark.parametrize(
    ("ids", "anonymous_id", "user_id"),
    [
        ('"userId":"u"', None, "u"),
        ('"userId":12,"anonymousId":34', "34", "12"),
        ('"userId":null,"anonymousId":"a"', "a", None),
        ('"userId":"","anonymousId":"a"', "a", ""),
        ('"x":1', None, None),
        ('"userId":[1],"anonymousId":"a"', "a", None),
        ('"userId":1.5,"anonymousId":{"a":1}', None, None),
        ('"userId":' + "9" * 5000, None, None),
    ],
)
def test_key_follows_the_ids_as_far_as_they_can_be_read(
    ids: str, anonymous_id: str | None, user_id: str | None
) -> None:
    (record,) = accepted(post("/v1/identify", f'{{{ids},"messageId":"m"}}'.encode()))
    assert record[0] == record_key("shop", anonymous_id, user_id, "m")


def test_batch_keeps_the_bytes_of_each_item_and_stamps_what_the_batch_said() -> None:
    items = [b'{"type":"track", "anonymousId":"a"}', b'{ "type":"identify","userId":7,"messageId":"m2" }', b"{}"]
    said = b'"sentAt":"2026-11-01T00:00:00.000Z" , "context":{"a": 1},"integrations":{"All":true}'
    body = b'{%b, "batch" : [ %b ,%b,\n%b] }' % (said, *items)
    records = accepted(post("/v1/batch", body))
    assert [record[1] for record in records] == items
    stamps = [stamp_of(record) for record in records]
    assert [stamp.message_id for stamp in stamps] == ["assigned", "m2", "assigned"]
    assert {(stamp.sent_at, stamp.call) for stamp in stamps} == {("2026-11-01T00:00:00.000Z", "")}
    assert bytes(stamps[0].context) == b'{"a": 1}'
    assert bytes(stamps[2].integrations) == b'{"All":true}'


def test_malformed_items_are_published_as_they_are() -> None:
    items = [b"1", b'"text"', b"null", b"[[]]", b'{"userId":{}}', b'{"messageId":[]}', b'{"userId":1e999}']
    records = accepted(post("/v1/batch", b'{"batch":[%b]}' % b",".join(items)))
    assert [record[1] for record in records] == items


def test_oversized_item_is_published_as_it_is() -> None:
    item = b'{"x":"%b"}' % (b"y" * 40_000)
    assert [record[1] for record in accepted(post("/v1/batch", b'{"batch":[%b]}' % item))] == [item]


def test_empty_batch_is_a_success_with_nothing_to_publish() -> None:
    assert accepted(post("/v1/batch", b'{"batch":[]}')) == []


@pytest.mark.parametrize("context", [b"null", b"1", b'"x"', b"[]"])
def test_batch_context_that_is_no_object_is_left_out(context: bytes) -> None:
    (record,) = accepted(post("/v1/batch", b'{"batch":[{}],"context":%b,"integrations":%b}' % (context, context)))
    assert stamp_of(record) == Stamp("shop", "assigned", NOW_MS, key_kind="secret", ip="198.51.100.7")


@pytest.mark.parametrize("sent_at", [b"{}", b"true", b"1e999", b"null"])
def test_sent_at_that_is_no_instant_is_left_out(sent_at: bytes) -> None:
    (record,) = accepted(post("/v1/batch", b'{"batch":[{}],"sentAt":%b}' % sent_at))
    assert stamp_of(record).sent_at is None


def test_half_of_an_emoji_takes_neither_its_batch_nor_its_bytes() -> None:
    cut = rb'{"userId":"u","properties":{"title":"cut \ud83d","text":"\\ud83d","whole":"\ud83d\ude00"}}'
    whole = b'{"userId":"u","messageId":"m"}'
    records = accepted(post("/v1/batch", b'{"batch":[%b, %b,%b],"context":{}}' % (whole, cut, whole)))
    assert [record[1] for record in records] == [whole, cut, whole]
    assert [record[1] for record in accepted(post("/v1/track", cut))] == [cut]


DEEP = b"[" * 100_000 + b"]" * 100_000
GARBAGE = {
    "empty": (b"", "invalid_json"),
    "truncated": (b'{"userId":"u"', "invalid_json"),
    "words": (b"hello", "invalid_json"),
    "trailing": (b"{} {}", "invalid_json"),
    "nan": (b'{"x":NaN}', "invalid_json"),
    "nul": (b'{"x":"\x00"}', "invalid_json"),
    "byte order mark": (b"\xef\xbb\xbf{}", "invalid_json"),
    "utf-16": ('{"userId":"u"}'.encode("utf-16"), "invalid_json"),
    "latin-1 in a field that is not read": (b'{"x":"\xe9"}', "invalid_json"),
    "latin-1 in an id": (b'{"userId":"\xe9"}', "invalid_json"),
    "array": (b"[]", "not_an_object"),
    "number": (b"1", "not_an_object"),
    "deep in a field that is not read": (b'{"x":' + DEEP + b"}", "too_deep"),
    "deep in an id": (b'{"userId":' + DEEP + b"}", "too_deep"),
}


@pytest.mark.parametrize(("body", "code"), GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_refused_at_once(body: bytes, code: str) -> None:
    assert refused(post("/v1/track", body, max_event_bytes=512 * 1024, max_batch_bytes=512 * 1024)) == (400, code)
    assert refused(post("/v1/batch", body))[0] == 400


def test_garbage_among_items_refuses_the_batch() -> None:
    assert refused(post("/v1/batch", b'{"batch":[{"x":"\xff"}]}')) == (400, "invalid_json")
    assert refused(post("/v1/batch", b'{"batch":[{"x":NaN}]}')) == (400, "invalid_json")
    assert refused(post("/v1/batch", b'{"batch":[%b]}' % DEEP)) == (400, "too_deep")


@pytest.mark.parametrize("body", [b"{}", b'{"batch":null}', b'{"batch":{}}', b'{"batch":"[]"}'])
def test_batch_without_an_array_is_refused(body: bytes) -> None:
    assert refused(post("/v1/batch", body)) == (400, "no_batch")


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_event_is_refused_from_one_byte_over_its_limit(over: int) -> None:
    body = b'{"x":"%b"}' % (b"y" * (32 * 1024 - 8 + over))
    outcome = post("/v1/track", body)
    if over > 0:
        assert refused(outcome) == (400, "event_too_large")
    else:
        assert len(accepted(outcome)) == 1


@pytest.mark.parametrize("over", [0, 1])
def test_batch_is_refused_from_one_byte_over_its_limit(over: int) -> None:
    body = b'{"batch":[],"x":"%b"}' % (b"y" * (500 * 1024 - 19 + over))
    outcome = post("/v1/batch", body)
    assert refused(outcome) == (400, "batch_too_large") if over else accepted(outcome) == []


@pytest.mark.parametrize("over", [0, 1])
def test_batch_is_refused_from_one_event_over_its_limit(over: int) -> None:
    outcome = post("/v1/batch", b'{"batch":[%b]}' % b",".join([b"{}"] * (2500 + over)))
    assert refused(outcome) == (400, "too_many_events") if over else len(accepted(outcome)) == 2500


def test_context_that_its_batch_would_repeat_a_thousandfold_is_refused() -> None:
    body = b'{"context":{"x":"%b"},"batch":[%b]}' % (b"y" * 300_000, b",".join([b"{}"] * 1000))
    assert refused(post("/v1/batch", body)) == (400, "context_too_large")


def test_item_larger_than_a_topic_takes_is_refused() -> None:
    body = b'{"batch":[{"x":"%b"}]}' % (b"y" * 1_100_000)
    assert refused(post("/v1/batch", body, max_batch_bytes=2_000_000)) == (400, "event_too_large")


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Basic " + base64.b64encode(SECRET.encode())},
        {b"authorization": b"basic " + base64.b64encode(SECRET.encode() + b":ignored")},
        {b"authorization": b"Bearer " + SECRET.encode()},
    ],
    ids=["without colon", "with password", "bearer"],
)
def test_key_is_taken_from_the_header(headers: dict[bytes, bytes]) -> None:
    assert len(accepted(post("/v1/track", b"{}", headers))) == 1
    assert len(accepted(post("/v1/batch", b'{"batch":[{}]}', headers))) == 1


def test_key_is_taken_from_the_body() -> None:
    said = f'"writeKey":"{SECRET}"'.encode()
    assert len(accepted(post("/v1/track", b"{%b}" % said, {}))) == 1
    assert len(accepted(post("/v1/batch", b'{"batch":[{}],%b}' % said, {}))) == 1


NO_KEY: dict[str, tuple[dict[bytes, bytes], int, str]] = {
    "none": ({}, 401, "missing_key"),
    "empty user": ({b"authorization": b"Basic " + base64.b64encode(b":")}, 401, "missing_key"),
    "empty bearer": ({b"authorization": b"Bearer "}, 401, "missing_key"),
    "not base64": ({b"authorization": b"Basic A"}, 401, "malformed_authorization"),
    "no text": ({b"authorization": b"Basic " + base64.b64encode(b"\xff\xfe:")}, 401, "malformed_authorization"),
    "digest": ({b"authorization": b"Digest x"}, 401, "malformed_authorization"),
    "unknown": ({b"authorization": b"Bearer sk_unknown"}, 401, "invalid_key"),
    "not ascii": ({b"authorization": b"Bearer \xe9"}, 401, "invalid_key"),
    "without scope": ({b"authorization": b"Bearer " + ADMIN_ONLY.encode()}, 403, "insufficient_scope"),
}


@pytest.mark.parametrize(("headers", "status", "code"), NO_KEY.values(), ids=NO_KEY)
def test_without_a_key_that_may_ingest_nothing_is_taken(headers: dict[bytes, bytes], status: int, code: str) -> None:
    assert refused(post("/v1/track", b'{"userId":"u"}', headers)) == (status, code)
    assert refused(post("/v1/batch", b'{"batch":[{}]}', headers)) == (status, code)


@pytest.mark.parametrize("write_key", ['""', "null", "1", '["x"]', '"sk_wrong"'])
def test_write_key_of_any_other_kind_is_none(write_key: str) -> None:
    assert refused(post("/v1/track", f'{{"writeKey":{write_key}}}'.encode(), {}))[0] == 401


def test_refusal_never_repeats_what_was_sent() -> None:
    for path in ("/v1/track", "/v1/batch"):
        outcome = post(path, b'{"writeKey":"sk_mistyped","batch":[]}', {})
        assert isinstance(outcome, Refused)
        assert b"mistyped" not in outcome.answer.body


def test_long_user_agent_is_cut() -> None:
    (record,) = accepted(post("/v1/track", b"{}", {**BASIC, b"user-agent": b"x" * 5000}))
    assert len(stamp_of(record).user_agent or "") == 1024


def test_every_record_can_be_read_by_a_json_reader_of_another_make() -> None:
    (record,) = accepted(post("/v1/track", '{"userId":"ü😀","messageId":"\\u0000"}'.encode()))
    assert json.loads(record[3][0][1])["message_id"] == "\x00"
    assert json.loads(record[1] or b"")["userId"] == "ü😀"
