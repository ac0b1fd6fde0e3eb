"""Browsers and limits, over real sockets: origins, preflights, what is asked before the first event, rates."""

import asyncio
import base64
import gzip
import json
import zlib
from collections.abc import Iterator

import cramjam
import pytest

from broker.control import write_control
from broker.topics import create_topics
from embedded.kafka import RunningKafka
from pipeline.settings import Settings
from tests.integration.ingress_process import RunningIngress, known_key, raw_records, running_ingress, wait_ready
from tests.waiting import eventually
from topics.control import Key, KeyKind, key_hash, key_hint, new_key

SHOP, EVIL = "https://shop.example", "https://evil.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "anonymousid,sentat"}


@pytest.fixture(scope="module")
def ingress(kafka: RunningKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningIngress]:
    asyncio.run(create_topics(Settings.model_validate({"kafka": kafka.bootstrap, "partitions": 4})))
    with running_ingress(kafka.bootstrap, tmp_path_factory.mktemp("browsers")) as running:
        wait_ready(running)
        yield running


def added_key(ingress: RunningIngress, kind: KeyKind = "public", **fields: object) -> str:
    """A key with these fields that the ingress has heard of."""
    secret = new_key(kind)
    key = Key(key_hash(secret), key_hint(secret), f"b-{key_hint(secret)}", kind, 1, **fields)  # type: ignore[arg-type]
    asyncio.run(write_control(ingress.settings, [key]))
    eventually(lambda: ingress.post("/v1/b", {"batch": [], "writeKey": secret}).status == 200, "the key is known")
    return secret


def test_page_of_a_listed_origin_sends_and_reads(ingress: RunningIngress) -> None:
    secret = added_key(ingress, origins=(SHOP,))
    asked = ingress.request("OPTIONS", "/v1/t", headers={"Origin": SHOP, **PREFLIGHT})
    assert (asked.status, asked.headers["access-control-allow-origin"]) in {(204, SHOP), (204, "*")}
    assert {"anonymousid", "sentat"} <= set(asked.headers["access-control-allow-headers"].lower().split(", "))
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert "content-length" not in asked.headers
    sent = ingress.post("/v1/t", {"event": "x", "anonymousId": "a", "writeKey": secret}, Origin=SHOP)
    assert (sent.status, sent.headers["access-control-allow-origin"]) == (200, SHOP)
    assert sent.headers["vary"] == "Origin"


def test_page_of_another_origin_is_refused_and_reads_nothing(ingress: RunningIngress) -> None:
    secret = added_key(ingress, origins=(SHOP,))
    for reply in (
        ingress.post("/v1/t", {"event": "x", "writeKey": secret}, Origin=EVIL),
        ingress.request("GET", f"/v1/projects/{secret}/settings", headers={"Origin": EVIL}),
    ):
        assert (reply.status, reply.json["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in reply.headers


def test_preflight_that_names_its_key_is_answered_by_that_keys_origins(ingress: RunningIngress) -> None:
    bound, free = added_key(ingress, origins=(SHOP,)), added_key(ingress)
    for path in ("/v1/projects/{}/settings", "/sourceConfig/?writeKey={}", "/beacon/v1/batch?writeKey={}"):
        for secret, origin, admitted in ((bound, SHOP, SHOP), (bound, EVIL, None), (free, EVIL, "*")):
            reply = ingress.request("OPTIONS", path.format(secret), headers={"Origin": origin, **PREFLIGHT})
            assert reply.status == 204
            assert reply.headers.get("access-control-allow-origin") == admitted


def test_mixpanels_browser_client_can_read_its_answers_which_it_asks_for_with_credentials(
    ingress: RunningIngress,
) -> None:
    record = {"event": "E", "properties": {"token": added_key(ingress), "distinct_id": "$device:d"}}
    reply = ingress.post("/track/?verbose=1&ip=1", [record], Origin=EVIL)
    assert (reply.status, reply.json) == (200, {"status": 1, "error": None})
    assert reply.headers["access-control-allow-origin"] == EVIL
    assert reply.headers["access-control-allow-credentials"] == "true"


def test_no_other_answer_admits_credentials_or_repeats_an_origin_that_nobody_lists(ingress: RunningIngress) -> None:
    secret = added_key(ingress)
    for reply in (
        ingress.post("/v1/t", {"event": "x", "writeKey": secret}, Origin=EVIL),
        ingress.post("/v1/t", b"{", Origin=EVIL),
        ingress.request("OPTIONS", "/v1/t", headers={"Origin": EVIL, **PREFLIGHT}),
    ):
        assert "access-control-allow-credentials" not in reply.headers
        assert EVIL not in str(reply.headers)


def test_secret_key_in_a_browser_is_taken_but_no_page_reads_the_answer(ingress: RunningIngress) -> None:
    reply = ingress.post("/v1/t", {"event": "x", "userId": "u"}, added_key(ingress, "secret"), Origin=EVIL)
    assert reply.status == 200
    assert "access-control-allow-origin" not in reply.headers


def test_beacon_as_plain_text_is_taken(ingress: RunningIngress) -> None:
    secret = added_key(ingress)
    body = json.dumps({"batch": [{"type": "page", "anonymousId": "a"}], "writeKey": secret}).encode()
    assert ingress.post("/v1/b", body, **{"Content-Type": "text/plain;charset=UTF-8"}).status == 200


def test_settings_name_this_ingress(ingress: RunningIngress) -> None:
    secret = added_key(ingress)
    settings = ingress.request("GET", f"/v1/projects/{secret}/settings").json
    told = settings["integrations"]["Segment.io"]
    assert f"{told['protocol']}://{told['apiHost']}" == f"{ingress.url}/v1"
    assert ingress.request("GET", "/v1/projects/pk_wrong/settings").status == 401


def test_source_config_is_there_for_rudderstack(ingress: RunningIngress) -> None:
    secret = added_key(ingress)
    basic = base64.b64encode(f"{secret}:".encode()).decode()
    reply = ingress.request(
        "GET", f"/sourceConfig/?p=npm&writeKey={secret}", headers={"Authorization": f"Basic {basic}"}
    )
    assert reply.json["source"]["writeKey"] == secret


def test_paths_take_options_and_say_so_to_other_methods(ingress: RunningIngress) -> None:
    assert ingress.request("OPTIONS", "/v1/track").headers["allow"] == "OPTIONS, POST"
    reply = ingress.request("DELETE", "/v1/projects/x/settings")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, OPTIONS")


def test_key_over_its_rate_is_told_when_to_come_back(ingress: RunningIngress) -> None:
    secret = added_key(ingress, rate_limit_per_s=1)
    events = [{"type": "page", "anonymousId": "a"}] * 50
    assert ingress.post("/v1/batch", {"batch": events, "writeKey": secret}).status == 200
    reply = ingress.post("/v1/batch", {"batch": events, "writeKey": secret})
    assert (reply.status, reply.json["code"]) == (429, "rate_limited")
    assert 40 <= int(reply.headers["retry-after"]) <= 52
    assert reply.headers["x-ratelimit-reset"] == reply.headers["retry-after"]
    assert ingress.post("/v1/batch", {"batch": [], "writeKey": secret}).status == 200


def test_what_is_refused_for_its_rate_is_not_published(ingress: RunningIngress) -> None:
    secret = added_key(ingress, rate_limit_per_s=1)
    replies = [ingress.post("/v1/p", {"anonymousId": "a", "writeKey": secret}) for _ in range(8)]
    taken = sum(reply.status == 200 for reply in replies)
    assert taken < 8
    assert len(raw_records(ingress.settings, f"b-{key_hint(secret)}")) == taken


PACK = {
    "gzip": lambda body: gzip.compress(body),
    "deflate": lambda body: zlib.compress(body),
    "br": lambda body: bytes(cramjam.brotli.compress(body, level=3)),
    "zstd": lambda body: bytes(cramjam.zstd.compress(body)),
}


@pytest.mark.parametrize("encoding", PACK)
def test_compressed_batch_is_published_in_the_clear(ingress: RunningIngress, encoding: str) -> None:
    secret, key = known_key(ingress)
    item = b'{"type":"page","userId":"u","messageId":"m"}'
    reply = ingress.post(
        "/v1/batch", PACK[encoding](b'{"batch":[%b]}' % item), secret, **{"Content-Encoding": encoding}
    )
    assert reply.status == 200
    assert [each.value for each in raw_records(ingress.settings, key.project_id)] == [item]


def test_gzip_under_another_name_is_read_as_rudderstacks_node_client_sends_it(ingress: RunningIngress) -> None:
    secret, key = known_key(ingress)
    packed = gzip.compress(b'{"batch":[{"type":"page","userId":"u"}]}')
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ingress.post("/v1/batch", packed, secret, **headers).status == 200
    assert len(raw_records(ingress.settings, key.project_id)) == 1


@pytest.mark.parametrize("encoding", PACK)
def test_bomb_is_refused_and_the_next_event_is_taken(ingress: RunningIngress, encoding: str) -> None:
    secret, _ = known_key(ingress)
    reply = ingress.post("/v1/batch", PACK[encoding](bytes(8_000_000)), secret, **{"Content-Encoding": encoding})
    assert (reply.status, reply.json["code"]) == (413, "body_too_large")
    assert ingress.post("/v1/track", {"userId": "u", "event": "e"}, secret).status == 200


def test_openapi_is_served(ingress: RunningIngress) -> None:
    document = ingress.request("GET", "/openapi.json").json
    assert document["openapi"].startswith("3.1")
    assert "/v1/track" in document["paths"]
