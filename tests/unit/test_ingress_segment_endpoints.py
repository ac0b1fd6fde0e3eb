"""Segment family: short forms, import, what browser clients ask before they send, origins and strict mode."""

import base64
import json
from collections.abc import Mapping

import pytest

from ingress.contract import Accepted, Refused, Request
from ingress.paths import Paths
from ingress.segment import routes
from pipeline.directory import Directory
from pipeline.settings import Settings
from topics.control import Key, Project, encode, key_hash, key_hint, record_key
from topics.raw import Stamp, read_stamp

NOW_MS = 1_790_000_000_000
PUBLIC = "pk_" + "ab" * 20
BOUND = "pk_" + "cd" * 20
SECRET = "sk_" + "ef" * 20
SHOP = b"https://shop.example"
ROUTES = routes(Settings.model_validate({}), new_id=lambda: "assigned")
PATHS = Paths(ROUTES)
SETTINGS = "/v1/projects/{writeKey}/settings"


def key(secret: str, *origins: str) -> Key:
    kind = "secret" if secret == SECRET else "public"
    return Key(key_hash(secret), key_hint(secret), "shop", kind, 1, origins=origins)  # type: ignore[arg-type]


def directory() -> Directory:
    project = Project("shop", 0, blocked_ids=("house",))
    records = (project, key(PUBLIC), key(SECRET), key(BOUND, SHOP.decode()))
    return Directory().apply([(record_key(each), encode(each)) for each in records])


def ask(
    method: str, path: str, body: bytes = b"", headers: Mapping[bytes, bytes] | None = None, query: bytes = b""
) -> Accepted | Refused:
    pattern = PATHS.pattern_of(path)
    assert pattern is not None
    given = {b"host": b"events.example:8080"} if headers is None else dict(headers)
    return ROUTES[method, pattern].handle(Request(given, body, query, None, path), directory(), NOW_MS)


def authorized(secret: str, **headers: bytes) -> dict[bytes, bytes]:
    basic = b"Basic " + base64.b64encode(f"{secret}:".encode())
    return {b"authorization": basic, **{name.replace("_", "-").encode(): value for name, value in headers.items()}}


def stamps(outcome: Accepted | Refused) -> list[Stamp]:
    assert isinstance(outcome, Accepted), outcome.answer.body
    assert (outcome.answer.status, outcome.answer.body) == (200, b'{"success":true}')
    return [read_stamp(record[3]) for record in outcome.records]


def code(outcome: Accepted | Refused) -> tuple[int, str]:
    assert isinstance(outcome, Refused)
    return outcome.answer.status, json.loads(outcome.answer.body)["code"]


@pytest.mark.parametrize(
    ("short", "call"),
    [("i", "identify"), ("t", "track"), ("p", "page"), ("s", "screen"), ("g", "group"), ("a", "alias")],
)
def test_short_form_is_the_call(short: str, call: str) -> None:
    body = b'{"anonymousId":"a","writeKey":"%b"}' % PUBLIC.encode()
    (stamp,) = stamps(ask("POST", f"/v1/{short}", body, {b"content-type": b"text/plain"}))
    assert (stamp.call, stamp.project_id, stamp.key_kind) == (call, "shop", "public")


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import", "/v1/b", "/v1/import/", "/v1/b/"])
def test_every_batch_path_takes_a_batch(path: str) -> None:
    body = b'{"batch":[{"messageId":"1"},{"messageId":"2"}],"writeKey":"%b"}' % PUBLIC.encode()
    assert [stamp.message_id for stamp in stamps(ask("POST", path, body))] == ["1", "2"]


def test_batch_that_a_page_sends_at_its_end_has_its_key_in_the_query() -> None:
    query = f"writeKey={PUBLIC}".encode()
    assert len(stamps(ask("POST", "/beacon/v1/batch", b'{"batch":[{}]}', query=query))) == 1
    assert code(ask("POST", "/beacon/v1/batch", b'{"batch":[{}]}', query=b"writeKey=wrong")) == (401, "invalid_key")
    assert code(ask("POST", "/beacon/v1/batch", b'{"batch":[{}]}', query=b"%ff&=&;")) == (401, "missing_key")


def test_metrics_of_analytics_js_are_answered_and_forgotten() -> None:
    assert stamps(ask("POST", "/v1/m", b'{"series":[{"type":"Counter"}]}')) == []
    assert stamps(ask("POST", "/v1/m", b"no json")) == []


def test_settings_name_the_host_that_was_asked() -> None:
    answer = ask("GET", f"/v1/projects/{PUBLIC}/settings").answer
    integrations = json.loads(answer.body)["integrations"]
    expected = {"apiKey": PUBLIC, "apiHost": "events.example:8080/v1", "protocol": "http"}
    for name in ("Segment.io", "Customer.io Data Pipelines"):
        assert integrations[name].items() >= expected.items()
    assert json.loads(answer.body)["metrics"]["sampleRate"] == 0
    assert (b"cache-control", b"no-cache") in answer.headers


def test_settings_behind_a_proxy_that_ends_tls_name_https() -> None:
    headers = {b"host": b"e.example", b"x-forwarded-proto": b"https"}
    settings = json.loads(ask("GET", f"/v1/projects/{PUBLIC}/settings/", headers=headers).answer.body)
    assert settings["integrations"]["Segment.io"]["protocol"] == "https"


@pytest.mark.parametrize("host", [b"", b"a b", b'"><script>', b"x/../y", b"e.example:999999", b"\xff"])
def test_host_that_can_be_none_is_not_repeated(host: bytes) -> None:
    body = ask("GET", f"/v1/projects/{PUBLIC}/settings", headers={b"host": host}).answer.body
    assert json.loads(body)["integrations"]["Segment.io"]["apiHost"] == "localhost/v1"


def test_source_config_has_what_rudderstack_looks_for() -> None:
    answer = ask("GET", "/sourceConfig/", query=f"p=npm&v=3.0.0&writeKey={PUBLIC}".encode()).answer
    source = json.loads(answer.body)["source"]
    assert source.items() >= {"writeKey": PUBLIC, "enabled": True, "destinations": []}.items()
    assert all(source[name] for name in ("id", "name", "workspaceId", "config"))
    assert ask("GET", "/sourceConfig", headers=authorized(PUBLIC)).answer.status == 200


def test_nothing_is_told_for_a_key_that_does_not_exist() -> None:
    assert code(ask("GET", "/v1/projects/wrong/settings")) == (401, "invalid_key")
    assert code(ask("GET", "/sourceConfig/", query=b"writeKey=wrong")) == (401, "invalid_key")
    assert code(ask("GET", "/sourceConfig/")) == (401, "missing_key")
    assert b"wrong" not in ask("GET", "/v1/projects/wrong/settings").answer.body


@pytest.mark.parametrize("path", ["/v1/projects//settings", "/v1/projects/a/b/settings", "/v1/projects/settings"])
def test_settings_are_of_one_key(path: str) -> None:
    assert PATHS.pattern_of(path) is None


@pytest.mark.parametrize(
    ("secret", "origin", "taken"),
    [
        (BOUND, SHOP, True),
        (BOUND, b"https://evil.example", False),
        (BOUND, None, True),
        (PUBLIC, b"https://evil.example", True),
        (SECRET, b"https://evil.example", True),
    ],
)
def test_public_key_with_origins_is_refused_from_any_other(secret: str, origin: bytes | None, taken: bool) -> None:
    headers = {**authorized(secret), **({b"origin": origin} if origin else {})}
    asked = [
        ask("POST", "/v1/t", b'{"event":"x"}', headers),
        ask("POST", "/v1/b", b'{"batch":[{}]}', headers),
        ask("GET", f"/v1/projects/{secret}/settings", headers=headers),
        ask("GET", "/sourceConfig", headers=headers),
    ]
    if taken:
        assert {outcome.answer.status for outcome in asked} == {200}
    else:
        assert {code(outcome) for outcome in asked} == {(403, "origin_not_allowed")}


def test_header_sent_at_counts_where_the_batch_has_none() -> None:
    headers = authorized(SECRET, sentat=b"2026-11-01T00:00:00.000Z", anonymousid=b"YQ==")
    assert stamps(ask("POST", "/v1/track", b"{}", headers))[0].sent_at == "2026-11-01T00:00:00.000Z"
    assert stamps(ask("POST", "/v1/batch", b'{"batch":[{}]}', headers))[0].sent_at == "2026-11-01T00:00:00.000Z"
    said = b'{"batch":[{}],"sentAt":"2026-10-01T00:00:00Z"}'
    assert stamps(ask("POST", "/v1/batch", said, headers))[0].sent_at == "2026-10-01T00:00:00Z"
    assert stamps(ask("POST", "/v1/track", b"{}", authorized(SECRET, sentat=b"x" * 65)))[0].sent_at is None


def strict(path: str, body: bytes, **headers: bytes) -> Accepted | Refused:
    return ask("POST", path, body, authorized(SECRET, x_strict_mode=b"1", **headers))


WOULD_BE_REJECTED = {
    "no id": ("identify", b'{"traits":{}}', "missing_id"),
    "no event": ("track", b'{"userId":"u"}', "missing_field"),
    "no groupId": ("group", b'{"userId":"u"}', "missing_field"),
    "long messageId": ("track", b'{"userId":"u","event":"e","messageId":"%b"}' % (b"x" * 101), "invalid_field"),
    "id of a wrong type": ("track", b'{"userId":["u"],"event":"e"}', "invalid_field"),
}


@pytest.mark.parametrize(("call", "body", "reason"), WOULD_BE_REJECTED.values(), ids=WOULD_BE_REJECTED)
def test_strict_mode_refuses_at_once_what_would_be_rejected_later(call: str, body: bytes, reason: str) -> None:
    outcome = strict(f"/v1/{call}", body)
    assert code(outcome) == (400, "would_be_rejected")
    (error,) = json.loads(outcome.answer.body)["errors"]
    assert (error["index"], error["reason"]) == (0, reason)
    assert error["detail"]
    assert len(stamps(ask("POST", f"/v1/{call}", body, authorized(SECRET)))) == 1


def test_strict_mode_takes_what_would_be_stored() -> None:
    assert len(stamps(strict("/v1/track", b'{"userId":"u","event":"e"}'))) == 1
    assert len(stamps(strict("/v1/batch", b'{"batch":[{"type":"page","userId":"u"}]}'))) == 1
    assert stamps(strict("/v1/batch", b'{"batch":[]}')) == []


def test_strict_mode_takes_all_of_a_batch_or_nothing_and_names_the_items() -> None:
    good, bad = b'{"type":"page","userId":"u"}', b'{"type":"page"}'
    outcome = strict("/v1/batch", b'{"batch":[%b,%b,%b,{"type":"x"}]}' % (good, bad, good))
    errors = json.loads(outcome.answer.body)["errors"]
    assert [(error["index"], error["reason"]) for error in errors] == [(1, "missing_id"), (3, "unknown_type")]


def test_strict_mode_tells_a_bounded_number_of_errors_and_no_value() -> None:
    outcome = strict("/v1/batch", b'{"batch":[%b]}' % b",".join([b'{"type":"confidential"}'] * 2000))
    assert len(json.loads(outcome.answer.body)["errors"]) == 20
    assert b"confidential" not in outcome.answer.body


@pytest.mark.parametrize("said", [b"0", b"false", b"", b"no"])
def test_strict_mode_is_off_unless_it_is_on(said: bytes) -> None:
    assert len(stamps(ask("POST", "/v1/track", b"{}", authorized(SECRET, x_strict_mode=said)))) == 1


def test_outcome_names_the_key_so_that_its_limit_counts() -> None:
    for outcome in (strict("/v1/page", b'{"userId":"u"}'), ask("POST", "/v1/b", b'{"batch":[]}', authorized(SECRET))):
        assert isinstance(outcome, Accepted)
        assert outcome.key == key(SECRET)
