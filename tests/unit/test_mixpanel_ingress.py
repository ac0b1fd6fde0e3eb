"""Mixpanel over HTTP as a pure function: what is published, byte for byte, and what is answered."""

import base64
import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

import pytest

from ingress.contract import Accepted, Refused, Request
from ingress.errors import Problem
from ingress.mixpanel import MAX_BODY_BYTES, MAX_EVENTS, routes
from pipeline.directory import Directory
from pipeline.outcome import Rejected
from pipeline.rules import Rules
from pipeline.settings import Settings
from pipeline.validate import SYNTHETIC_PREFIX, validate
from tests.records import TestRecord
from topics.control import Key, KeyKind, encode, key_hash, key_hint
from topics.control import record_key as control_key
from topics.keys import record_key
from topics.raw import Dialect, Stamp, read_stamp
from topics.records import Record
from topics.rejected import Reason

NOW_MS = 1_790_000_000_000
TOKEN = "pk_" + "ab" * 20
SECRET = "sk_" + "cd" * 20
ADMIN = "sk_" + "ef" * 20
AT_HOME = "pk_" + "01" * 20  # bound to one origin
DEVICE = "0b6d2f5e-3c1a-4d2b-9e4f-8a7c6b5d4e3f"
ROUTES = routes(Settings.model_validate({}), new_id=lambda: "assigned")
FORM = {b"content-type": b"application/x-www-form-urlencoded"}
JSON = {b"content-type": b"application/json"}


def a_key(secret: str, kind: KeyKind, **fields: Any) -> Key:
    return Key(key_hash(secret), key_hint(secret), "shop", kind, 1, **fields)


KEYS = (
    a_key(TOKEN, "public"),
    a_key(SECRET, "secret"),
    a_key(ADMIN, "secret", scopes=("admin",)),
    a_key(AT_HOME, "public", origins=("https://shop.example",)),
)
DIRECTORY = Directory().apply([(control_key(key), encode(key)) for key in KEYS])


def basic(user: str, password: str = "") -> dict[bytes, bytes]:
    return {b"authorization": b"Basic " + base64.b64encode(f"{user}:{password}".encode())}


def send(
    path: str, body: bytes = b"", query: str = "", headers: Mapping[bytes, bytes] = FORM, method: str = "POST"
) -> Accepted | Refused:
    request = Request(dict(headers), body, query.encode(), "198.51.100.7", path)
    return ROUTES[method, path].handle(request, DIRECTORY, NOW_MS)


def answer(outcome: Accepted | Refused) -> tuple[int, Any]:
    """Status and body: JSON where it says so, else text."""
    headers = dict(outcome.answer.start["headers"])
    kind, body = headers[b"content-type"], outcome.answer.body
    return outcome.answer.status, json.loads(body) if kind == b"application/json" else body.decode()


def records(outcome: Accepted | Refused) -> list[Record]:
    assert isinstance(outcome, Accepted), outcome.answer.body
    return list(outcome.records)


def values(outcome: Accepted | Refused) -> list[bytes]:
    return [record[1] or b"" for record in records(outcome)]


def stamps(outcome: Accepted | Refused) -> list[Stamp]:
    return [read_stamp(record[3]) for record in records(outcome)]


def rejection(record: Record) -> Rejected:
    """What the pipeline says of a record that was published though it breaks a rule."""
    read = TestRecord(value=record[1], headers=record[3], key=record[0])
    outcome = validate(read, Rules([], max_event_bytes=32 * 1024))
    assert isinstance(outcome, Rejected), outcome
    return outcome


def event(name: str = "E", token: str | None = TOKEN, **properties: Any) -> dict[str, Any]:
    return {"event": name, "properties": {**({"token": token} if token else {}), **properties}}


def dumped(record: object) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode()


def form(data: bytes, **fields: str) -> bytes:
    return urllib.parse.urlencode({"data": data, **fields}).encode()


ONE = dumped(event(distinct_id="u", **{"$insert_id": "i-1"}))
OTHER = (
    b'{ "event":"\xc3\xbc", "properties" : {"token":"%b","distinct_id":"u","s":"a+b/c?&=%%20 \xf0\x9f\x98\x80>>>"} }'
    % (TOKEN.encode())
)
LIST = b"[%b ,\n %b]" % (ONE, OTHER)

ENCODINGS = {
    "JSON": lambda data: data,
    "base64": base64.b64encode,
    "base64 without padding": lambda data: base64.b64encode(data).rstrip(b"="),
    "base64 of URLs": base64.urlsafe_b64encode,
    "base64 of URLs without padding": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
    "base64 in lines": base64.encodebytes,
}


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("encode_data", ENCODINGS.values(), ids=ENCODINGS)
def test_form_is_taken_in_every_encoding_with_the_bytes_of_each_record(encode_data: Any, slash: str) -> None:
    for data, items in ((ONE, [ONE]), (OTHER, [OTHER]), (LIST, [ONE, OTHER])):
        outcome = send(f"/track{slash}", form(encode_data(data)))
        assert answer(outcome) == (200, "1")
        assert values(outcome) == items


def test_base64_is_taken_though_the_client_escaped_nothing() -> None:
    encoded = base64.b64encode(OTHER)
    assert b"+" in encoded
    assert values(send("/track", b"data=" + encoded)) == [OTHER]
    assert values(send("/track", b"ip=0&data=" + encoded + b"&verbose=0")) == [OTHER]


@pytest.mark.parametrize("headers", [JSON, FORM, {b"content-type": b"text/plain"}, {}], ids=str)
def test_json_body_is_taken_whatever_its_type_is_called(headers: dict[bytes, bytes]) -> None:
    assert values(send("/track", b" \n" + ONE + b"\n", headers=headers)) == [ONE]
    assert values(send("/track/", LIST, headers=headers)) == [ONE, OTHER]


def test_form_is_taken_whatever_its_type_is_called() -> None:
    assert values(send("/track", form(ONE), headers={b"content-type": b"text/plain"})) == [ONE]


@pytest.mark.parametrize(
    "path", ["/track", "/track/", "/engage", "/engage/", "/groups", "/groups/", "/import", "/import/"]
)
def test_every_path_is_there_for_get_and_post(path: str) -> None:
    assert ("GET", path) in ROUTES
    assert ("POST", path) in ROUTES


def test_record_is_stamped_and_keyed_by_its_ids() -> None:
    value = dumped(event(distinct_id="u", **{"$device_id": DEVICE, "$insert_id": "i-1"}))
    ((key, _, timestamp, headers),) = records(send("/track", value, headers={b"user-agent": b"UA/1"}))
    assert (key, timestamp) == (record_key("shop", DEVICE, "u", "i-1"), NOW_MS)
    assert read_stamp(headers) == Stamp(
        "shop",
        "i-1",
        NOW_MS,
        dialect=Dialect.MIXPANEL,
        call="track",
        key_kind="public",
        ip="198.51.100.7",
        user_agent="UA/1",
    )


def test_event_of_nobody_has_an_id_made_of_its_message_id() -> None:
    ((key, _, _, headers),) = records(send("/track", dumped(event(distinct_id=""))))
    assert read_stamp(headers).anonymous_id == f"{SYNTHETIC_PREFIX}assigned"
    assert key == record_key("shop", f"{SYNTHETIC_PREFIX}assigned", None, "assigned")


def test_missing_insert_id_is_assigned_and_unlike_any_other() -> None:
    table = routes(Settings.model_validate({}))
    request = Request({}, dumped([event(distinct_id="u")] * 1000), b"", None)
    outcome = table["POST", "/track"].handle(request, DIRECTORY, NOW_MS)
    assert len({stamp.message_id for stamp in stamps(outcome)}) == 1000


@pytest.mark.parametrize(
    ("query", "token", "ip"),
    [
        ("", TOKEN, "198.51.100.7"),
        ("ip=1", TOKEN, "198.51.100.7"),
        ("ip=0", TOKEN, None),
        ("", SECRET, None),
        ("ip=1", SECRET, "198.51.100.7"),
        ("ip=0", SECRET, None),
    ],
)
def test_address_is_kept_where_the_client_allows_it(query: str, token: str, ip: str | None) -> None:
    (stamp,) = stamps(send("/track", dumped(event(token=token, distinct_id="u")), query))
    assert stamp.ip == ip


WRONG = dumped(event(distinct_id="u", time=1, **{"$insert_id": "bad"}))


@pytest.mark.parametrize("where", ["query", "form"])
def test_fields_may_stand_in_the_query_or_in_the_form(where: str) -> None:
    def sent(data: bytes, **fields: str) -> tuple[int, Any]:
        if where == "form":
            return answer(send("/track", form(data, **fields)))
        return answer(send("/track", form(data), urllib.parse.urlencode(fields)))

    assert sent(ONE) == (200, "1")
    assert sent(ONE, verbose="0", strict="0", ip="0", _="1789999990123") == (200, "1")
    assert sent(ONE, verbose="1") == (200, {"status": 1, "error": None})
    assert sent(ONE, strict="1") == (200, "1")
    assert sent(WRONG) == (200, "0")
    status, said = sent(WRONG, verbose="1")
    assert (status, said["status"]) == (200, 0)
    assert "properties.time" in said["error"]
    assert sent(WRONG, strict="1")[0] == 400


@pytest.mark.parametrize("verbose", ["", "&verbose=1"])
def test_strict_names_each_record_that_does_not_hold_and_takes_the_others(verbose: str) -> None:
    missing = dumped(event("$identify", **{"$identified_id": "u", "$anon_id": "NEW_ID"}))
    outcome = send("/track", b"[%b,%b,%b]" % (WRONG, ONE, missing), f"strict=1{verbose}")
    status, said = answer(outcome)
    messages = [record.pop("message") for record in said["failed_records"]]
    assert (status, said) == (
        400,
        {
            "code": 400,
            "error": "some data points in the request failed validation",
            "status": "Bad Request",
            "num_records_imported": 1,
            "failed_records": [
                {"index": 0, "$insert_id": "bad", "field": "properties.time"},
                {"index": 2, "$insert_id": "", "field": "properties.$anon_id"},
            ],
        },
    )
    assert all("properties." in message for message in messages)
    assert values(outcome) == [ONE]


def test_without_strict_each_record_has_an_outcome() -> None:
    outcome = send("/track", b"[%b,%b]" % (WRONG, ONE))
    assert answer(outcome) == (200, "0")
    assert values(outcome) == [WRONG, ONE]
    assert rejection(records(outcome)[0]).reason is Reason.INVALID_FIELD


def test_case_29_is_a_zero_a_dead_letter_and_in_strict_mode_a_record_error() -> None:
    value = dumped(event("$identify", **{"$identified_id": "u", "$anon_id": "NEW_ID"}))
    outcome = send("/track", form(value))
    assert answer(outcome) == (200, "0")
    assert "$anon_id" in rejection(records(outcome)[0]).detail
    assert answer(send("/track", form(value, strict="1")))[1]["failed_records"][0]["field"] == "properties.$anon_id"
    assert records(send("/track", form(value, strict="1"))) == []


@pytest.mark.parametrize(
    ("path", "token", "headers"),
    [("/track", TOKEN, {}), ("/track", SECRET, {}), ("/import", TOKEN, {}), ("/import", None, basic(TOKEN))],
)
def test_case_31_merge_is_refused_but_by_import_with_a_secret_key(
    path: str, token: str | None, headers: dict[bytes, bytes]
) -> None:
    value = dumped(event("$merge", token, **{"$distinct_ids": ["u1", "u2"]}))
    (record,) = records(send(path, form(value), headers=headers))
    assert rejection(record).reason is Reason.NEEDS_SECRET_KEY
    status, said = answer(send(path, form(value, strict="1"), headers=headers))
    assert (status, said["failed_records"][0]["field"]) == (400, "event")
    allowed = send("/import", dumped([event("$merge", None, **{"$distinct_ids": ["u1", "u2"]})]), headers=basic(SECRET))
    assert answer(allowed) == (200, {"code": 200, "num_records_imported": 1, "status": "OK"})
    assert stamps(allowed)[0].anonymous_id is None


NO_DATA = {
    "nothing": b"",
    "no field of that name": b"dat=e30",
    "empty": b"data=",
    "no JSON": b"data=%7B",
    "no JSON in base64": b"data=" + base64.b64encode(b"hello"),
    "no base64": b"data=%21%21%21%21",
    "JSON that is cut": b'{"event":',
    "two objects": b"{} {}",
    "latin-1": b'{"event":"\xe9"}',
}


@pytest.mark.parametrize("body", NO_DATA.values(), ids=NO_DATA)
def test_what_cannot_be_read_is_a_zero(body: bytes) -> None:
    outcome = send("/track", body)
    assert answer(outcome) == (200, "0")
    assert not isinstance(outcome, Accepted) or not outcome.records
    status, said = answer(send("/track", body, "verbose=1"))
    assert (status, said["status"]) == (200, 0)
    assert said["error"]
    assert answer(send("/track", body, "strict=1"))[0] == 400
    assert answer(send("/import", body, headers=basic(SECRET)))[0] in (200, 400)


def test_deep_nesting_is_a_zero() -> None:
    deep = b'{"event":"E","properties":{"token":"%b","x":%b}}' % (TOKEN.encode(), b"[" * 50_000 + b"]" * 50_000)
    assert answer(send("/track", deep)) == (200, "0")
    assert answer(send("/track", b"[%b]" % deep)) == (200, "0")


def test_empty_list_is_nothing_to_take() -> None:
    assert answer(send("/track", b"[]")) == (200, "1")
    assert answer(send("/import", b"[]", headers=basic(SECRET)))[1]["num_records_imported"] == 0


@pytest.mark.parametrize("item", [b"1", b"null", b'"x"', b"[]", b"{}"])
def test_item_that_is_no_record_is_a_zero_and_takes_no_other_with_it(item: bytes) -> None:
    outcome = send("/track", b"[%b,%b]" % (item, ONE))
    assert answer(outcome) == (200, "0")
    assert values(outcome) == [ONE]


def test_half_of_an_emoji_takes_neither_its_list_nor_its_bytes() -> None:
    cut = rb'{"event":"E","properties":{"token":"%b","distinct_id":"u","t":"\ud83d"}}' % TOKEN.encode()
    outcome = send("/track", b"[%b, %b]" % (cut, ONE))
    assert answer(outcome) == (200, "1")
    assert values(outcome) == [cut, ONE]
    assert values(send("/track", cut)) == [cut]


@pytest.mark.parametrize("path", ["/track", "/engage", "/groups"])
def test_record_without_a_token_is_a_zero(path: str) -> None:
    value = dumped({"event": "E", "properties": {}, "$distinct_id": "u", "$group_id": 1, "$group_key": "k", "$set": {}})
    assert answer(send(path, value)) == (200, "0")
    status, said = answer(send(path, value, "strict=1"))
    assert (status, said["failed_records"][0]["field"]) == (400, "properties.token" if path == "/track" else "$token")


@pytest.mark.parametrize(
    ("token", "origin", "status"),
    [
        ("unknown", b"", 401),
        (ADMIN, b"", 403),
        (AT_HOME, b"https://evil.example", 403),
        (AT_HOME, b"https://shop.example", 200),
        (AT_HOME, b"", 200),
    ],
)
def test_token_that_admits_nobody_is_no_success(token: str, origin: bytes, status: int) -> None:
    headers = {b"origin": origin} if origin else {}
    outcome = send("/track", dumped(event(token=token, distinct_id="u")), headers=headers)
    assert answer(outcome) == (status, "1" if status == 200 else "0")
    assert len(records(outcome)) == (status == 200)
    verbose = answer(send("/track", dumped(event(token=token, distinct_id="u")), "verbose=1", headers))
    assert (verbose[0], verbose[1]["status"]) == (status, int(status == 200))


def test_unknown_token_in_a_list_takes_no_other_with_it() -> None:
    outcome = send("/track", b"[%b,%b]" % (dumped(event(token="unknown", distinct_id="u")), ONE))
    assert answer(outcome) == (401, "0")
    assert values(outcome) == [ONE]


def test_answer_never_repeats_a_token() -> None:
    for query in ("verbose=1", "strict=1"):
        assert b"mistyped" not in send("/track", dumped(event(token="mistyped")), query).answer.body


IMPORTED = [dumped(event(token=None, distinct_id="u", **{"$insert_id": f"i-{n}"})) for n in range(3)]
BODIES = {
    "array": b"[%b, %b,\n%b]" % tuple(IMPORTED),
    "lines": b"%b\n%b\r\n\n%b\n" % tuple(IMPORTED),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("query", ["", "strict=1", "strict=1&project_id=17"])
def test_import_takes_an_array_or_lines(body: bytes, query: str) -> None:
    outcome = send("/import", body, query, basic(SECRET))
    assert answer(outcome) == (200, {"code": 200, "num_records_imported": 3, "status": "OK"})
    assert values(outcome) == IMPORTED
    assert {(stamp.call, stamp.key_kind) for stamp in stamps(outcome)} == {("import", "secret")}


def test_import_takes_one_object() -> None:
    assert values(send("/import", IMPORTED[0], headers=basic(SECRET))) == [IMPORTED[0]]


@pytest.mark.parametrize("body", [b"[%b,%b,{}]", b"%b\n%b\n{}"], ids=["array", "lines"])
def test_strict_import_names_what_failed_and_takes_the_rest(body: bytes) -> None:
    outcome = send("/import", body % (IMPORTED[0], WRONG), "strict=1", basic(SECRET))
    status, said = answer(outcome)
    assert (status, said["code"], said["status"], said["num_records_imported"]) == (400, 400, "Bad Request", 1)
    failed = [(record["index"], record["$insert_id"], record["field"]) for record in said["failed_records"]]
    assert failed == [(1, "bad", "properties.time"), (2, "", "event")]
    assert all(record["message"] for record in said["failed_records"])
    assert values(outcome) == [IMPORTED[0]]


def test_import_without_strict_counts_what_holds_and_the_rest_becomes_dead_letters() -> None:
    outcome = send("/import", b"%b\n{nonsense\n%b" % (IMPORTED[0], WRONG), headers=basic(SECRET))
    assert answer(outcome) == (200, {"code": 200, "num_records_imported": 1, "status": "OK"})
    assert values(outcome) == [IMPORTED[0], b"{nonsense", WRONG]
    assert rejection(records(outcome)[1]).reason is Reason.INVALID_JSON


@pytest.mark.parametrize(
    ("headers", "token", "key_kind"),
    [
        (basic(SECRET), None, "secret"),
        (basic(SECRET, "ignored"), "unknown", "secret"),
        (basic("service-account", SECRET), "unknown", "secret"),
        (basic(TOKEN), None, "public"),
        ({b"authorization": f"Bearer {SECRET}".encode()}, None, "secret"),
        ({}, SECRET, "secret"),
        ({}, TOKEN, "public"),
    ],
)
def test_import_is_of_the_requests_key_else_of_the_records_token(
    headers: dict[bytes, bytes], token: str | None, key_kind: str
) -> None:
    (stamp,) = stamps(send("/import", dumped([event(token=token, distinct_id="u")]), headers=headers))
    assert (stamp.project_id, stamp.key_kind) == ("shop", key_kind)


@pytest.mark.parametrize(
    ("headers", "token", "status"),
    [
        ({}, None, 401),
        ({}, "unknown", 401),
        (basic("unknown"), TOKEN, 401),
        (basic(""), TOKEN, 401),
        ({b"authorization": b"Basic A"}, TOKEN, 401),
        ({b"authorization": b"Digest x"}, TOKEN, 401),
        (basic(ADMIN), TOKEN, 403),
    ],
)
def test_import_without_a_key_is_refused(headers: dict[bytes, bytes], token: str | None, status: int) -> None:
    body = dumped([event(token=token, distinct_id="u")])
    outcome = send("/import", body, headers=headers)
    said_status, said = answer(outcome)
    assert (said_status, said["code"]) == (status, status)
    assert said["error"]
    assert records(outcome) == []
    assert answer(send("/import", body, "strict=1", headers))[0] == status


def test_foreign_credentials_do_not_hinder_a_token() -> None:
    assert len(records(send("/track", ONE, headers=basic("proxy", "password")))) == 1
    assert len(records(send("/track", dumped(event(token=None)), headers=basic(SECRET)))) == 1


def test_api_key_of_old_is_taken_where_it_is_one_of_ours() -> None:
    value = dumped(event("$merge", None, **{"$distinct_ids": ["u1", "u2"]}))
    assert answer(send("/import", form(value, api_key=SECRET))) == (200, "1")
    assert answer(send("/import", form(ONE, api_key="of-old"))) == (200, "1")


@pytest.mark.parametrize(("over", "is_taken"), [(0, True), (1, False)])
@pytest.mark.parametrize("path", ["/track", "/import"])
def test_request_holds_at_most_2000_records(path: str, over: int, is_taken: bool) -> None:
    outcome = send(path, b"[%b]" % b",".join([ONE] * (MAX_EVENTS + over)))
    assert answer(outcome)[0] == (200 if is_taken else 413)
    assert isinstance(outcome, Accepted) is is_taken


def test_routes_read_bodies_of_ten_megabytes() -> None:
    assert {route.max_body_bytes for route in ROUTES.values()} == {MAX_BODY_BYTES}
    assert MAX_BODY_BYTES == 10 * 1024 * 1024


def test_event_over_its_limit_is_a_dead_letter_and_in_strict_mode_a_record_error() -> None:
    value = dumped(event(distinct_id="u", x="y" * 33_000))
    outcome = send("/track", value)
    assert answer(outcome) == (200, "0")
    assert rejection(records(outcome)[0]).reason is Reason.TOO_LARGE
    assert answer(send("/track", value, "strict=1"))[0] == 400


def test_record_larger_than_a_topic_takes_is_refused() -> None:
    value = dumped(event(distinct_id="u", x="y" * 1_100_000))
    outcome = send("/track", value)
    assert isinstance(outcome, Refused)
    assert answer(outcome) == (413, "0")


UPDATES = {
    "set": {"$set": {"$email": "u@example.com"}},
    "set once": {"$set_once": {"$name": "Ada"}},
    "unset": {"$unset": ["plan"]},
    "add": {"$add": {"n": 1}},
    "delete": {"$delete": ""},
}


@pytest.mark.parametrize("operation", UPDATES.values(), ids=UPDATES)
def test_engage_and_groups_take_every_operation(operation: dict[str, Any]) -> None:
    person = dumped({"$token": TOKEN, "$distinct_id": "u", **operation})
    outcome = send("/engage/", form(base64.b64encode(b"[%b]" % person)), "verbose=1&ip=1&_=1")
    assert answer(outcome) == (200, {"status": 1, "error": None})
    assert values(outcome) == [person]
    assert stamps(outcome)[0].call == "engage"
    group = dumped({"$token": TOKEN, "$group_key": "company", "$group_id": "Acme", **operation})
    assert answer(send("/groups/", form(group))) == (200, "1")


@pytest.mark.parametrize("problem", Problem)
def test_problem_that_the_app_finds_is_never_told_as_a_success(problem: Problem) -> None:
    for path in ("/track", "/import"):
        told = ROUTES["POST", path].refuse(problem)
        said = json.loads(told.body)
        assert (told.status, said["error"]) == (problem.status, problem.message)
        assert said["status"] not in (1, "OK")
        assert (b"retry-after" in dict(told.headers)) == (problem.status == 503)


# What clients were recorded to send, late in 2026.


def test_node_client_sends_one_event_by_get_without_id_and_time() -> None:
    value = dumped(event("E", mp_lib="node", distinct_id="u", **{"$lib_version": "0.22.1"}))
    query = urllib.parse.urlencode({"ip": 0, "verbose": 0, "data": base64.b64encode(value)})
    outcome = send("/track", query=query, method="GET", headers={})
    assert answer(outcome) == (200, "1")
    assert (values(outcome), stamps(outcome)[0].ip) == ([value], None)
    update = dumped({"$set": {"plan": "pro"}, "$token": TOKEN, "$distinct_id": "u", "$ip": "0"})
    query = urllib.parse.urlencode({"ip": 0, "verbose": 1, "data": base64.b64encode(update)})
    assert answer(send("/engage", query=query, method="GET")) == (200, {"status": 1, "error": None})


def test_node_client_sends_batches_as_a_form_with_milliseconds() -> None:
    batch = [event("E", distinct_id="u", time=NOW_MS - n) for n in range(3)]
    outcome = send("/track", b"data=" + base64.b64encode(dumped(batch)), "ip=0&verbose=0")
    assert (answer(outcome), len(records(outcome))) == ((200, "1"), 3)


def test_node_client_imports_by_get_and_understands_a_one_alone() -> None:
    value = dumped(event("E", None, distinct_id="u", time=1_600_000_000))
    query = urllib.parse.urlencode({"ip": 0, "verbose": 0, "data": base64.b64encode(value)})
    assert answer(send("/import", query=query, method="GET", headers=basic(SECRET))) == (200, "1")


def test_browser_client_sends_a_list_out_of_order_with_fractions_of_seconds() -> None:
    device = {"distinct_id": f"$device:{DEVICE}", "$device_id": DEVICE, "mp_lib": "web"}
    batch = [
        event("E", time=NOW_MS / 1000 - seconds, **{"$insert_id": f"x{n}"}, **device)
        for n, seconds in enumerate((0.123, 2.5, 1.25))
    ]
    body = form(base64.b64encode(dumped(batch)))
    outcome = send("/track/", body, "verbose=1&ip=1&_=1789999990123")
    assert answer(outcome) == (200, {"status": 1, "error": None})
    assert {record[0] for record in records(outcome)} == {record_key("shop", DEVICE, None, "")}


def test_python_client_sends_plain_json_in_a_form_and_asks_for_words() -> None:
    value = dumped(event("E", distinct_id="u", time=1789999990.123456, **{"$insert_id": "5" * 32}))
    outcome = send("/track", form(value, verbose="1", ip="0"))
    assert answer(outcome) == (200, {"status": 1, "error": None})
    assert values(outcome) == [value]
