"""The ingress as a process, over real sockets, in front of a real broker."""

import asyncio
import base64
import gzip
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from segment.analytics.client import Client

from broker.control import remove_control
from broker.topics import create_topics
from embedded.kafka import RunningKafka
from ingress.errors import RETRY_AFTER_S
from pipeline.settings import Settings
from tests.integration.ingress_process import (
    RunningIngress,
    free_port,
    known_key,
    make_key,
    pausable_kafka,
    raw_records,
    running_ingress,
    wait_ready,
)
from tests.pausing import paused
from tests.waiting import eventually
from topics.keys import record_key


@pytest.fixture(scope="module")
def settings(kafka: RunningKafka) -> Settings:
    settings = Settings.model_validate({"kafka": kafka.bootstrap, "partitions": 4})
    asyncio.run(create_topics(settings))
    return settings


@pytest.fixture(scope="module")
def ingress(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningIngress]:
    with running_ingress(settings.kafka, tmp_path_factory.mktemp("ingress")) as running:
        wait_ready(running)
        yield running


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKafka]:
    with pausable_kafka(tmp_path_factory.mktemp("own-kafka")) as kafka:
        yield kafka


def test_event_that_was_answered_stands_in_the_topic_byte_for_byte(ingress: RunningIngress) -> None:
    secret, key = known_key(ingress)
    body = b' {"userId" : "u-1", "anonymousId":"a-1", "messageId":"m-1", "event":"\\u00fc \xc3\xbc" }'
    reply = ingress.post("/v1/track", body, secret, **{"User-Agent": "UA/1"})
    assert (reply.status, reply.json) == (200, {"success": True})
    (found,) = raw_records(ingress.settings, key.project_id)
    assert found.value == body
    assert found.key == record_key(key.project_id, "a-1", "u-1", "m-1")
    assert found.timestamp == found.stamp.received_at_ms
    assert (found.stamp.message_id, found.stamp.call, found.stamp.key_kind) == ("m-1", "track", "secret")
    assert (found.stamp.ip, found.stamp.user_agent) == ("127.0.0.1", "UA/1")


def test_batch_over_all_partitions_keeps_order_and_bytes(ingress: RunningIngress) -> None:
    secret, key = known_key(ingress)
    items = [{"type": "track", "anonymousId": f"a-{n % 7}", "messageId": f"m-{n}"} for n in range(200)]
    assert ingress.post("/v1/batch", {"batch": items, "context": {"app": 1}}, secret).status == 200
    found = raw_records(ingress.settings, key.project_id)
    assert sorted(each.value for each in found) == sorted(json.dumps(item).encode() for item in items)
    assert {bytes(each.stamp.context) for each in found} == {b'{"app": 1}'}
    for anonymous in {item["anonymousId"] for item in items}:
        sent = [item["messageId"] for item in items if item["anonymousId"] == anonymous]
        arrived = [each.stamp.message_id for each in found if json.loads(each.value)["anonymousId"] == anonymous]
        assert arrived == sent


@pytest.mark.parametrize("compress", [False, True])
def test_segments_own_python_client_works_with_only_its_host_changed(ingress: RunningIngress, compress: bool) -> None:
    secret, key = known_key(ingress)
    failures: list[object] = []
    client = Client(
        secret, host=ingress.url, gzip=compress, sync_mode=True, max_retries=0, on_error=lambda *e: failures.append(e)
    )
    client.identify("u-1", {"email": "a@example.com"})
    client.track("u-1", "Order Completed", {"total": 12.5}, anonymous_id="a-1")
    client.page("u-1", "Docs", "Start")
    client.screen("u-1", "Home")
    client.group("u-1", "g-1", {"plan": "pro"})
    client.alias("a-1", "u-1")
    assert failures == []
    found = [json.loads(each.value) for each in raw_records(ingress.settings, key.project_id)]
    assert sorted(each["type"] for each in found) == ["alias", "group", "identify", "page", "screen", "track"]
    (track,) = (each for each in found if each["type"] == "track")
    assert track["properties"] == {"total": 12.5}
    assert track["context"]["library"]["name"] == "analytics-python"


def test_many_clients_at_once_are_all_answered_and_all_written(ingress: RunningIngress) -> None:
    secret, key = known_key(ingress)
    with ThreadPoolExecutor(16) as pool:
        replies = pool.map(
            lambda n: ingress.post("/v1/track", {"userId": f"u-{n}", "messageId": f"m-{n}"}, secret), range(200)
        )
        assert {reply.status for reply in replies} == {200}
    assert {each.stamp.message_id for each in raw_records(ingress.settings, key.project_id)} == {
        f"m-{n}" for n in range(200)
    }


def test_key_works_within_a_second_and_stops_when_revoked(ingress: RunningIngress) -> None:
    secret, key = make_key(ingress.settings)
    eventually(lambda: ingress.post("/v1/track", {"userId": "u"}, secret).status == 200, "the key works", timeout_s=1)
    asyncio.run(remove_control(ingress.settings, key))
    eventually(lambda: ingress.post("/v1/track", {"userId": "u"}, secret).status == 401, "it stops", timeout_s=1)


def test_wrong_key_is_refused_with_what_to_do_and_without_the_key(ingress: RunningIngress) -> None:
    reply = ingress.post("/v1/track", {"userId": "u"}, "sk_mistyped")
    assert (reply.status, reply.json["code"]) == (401, "invalid_key")
    assert "keys list" in reply.json["message"]
    assert b"mistyped" not in reply.body


def test_what_was_sent_is_in_no_log(ingress: RunningIngress) -> None:
    secret, _ = known_key(ingress)
    for body in ({"userId": "confidential"}, b'{"userId":"confidential"', {"userId": ["confidential"]}):
        ingress.post("/v1/identify", body, secret)
    ingress.post("/v1/identify", {"traits": "confidential"}, "sk_mistyped")
    log = ingress.log()
    assert "ready to take events" in log
    assert "confidential" not in log
    assert secret not in log
    assert "mistyped" not in log


GARBAGE = {
    "malformed": (b"{", {}, 400, "invalid_json"),
    "not utf-8": (b'{"x":"\xff"}', {}, 400, "invalid_json"),
    "deep": (b'{"x":' + b"[" * 15_000 + b"]" * 15_000 + b"}", {}, 400, "too_deep"),
    "deep batch": (b'{"batch":' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, 400, "too_deep"),
    "large event": (b'{"x":"' + b"y" * 40_000 + b'"}', {}, 400, "event_too_large"),
    "bomb": (gzip.compress(bytes(50_000_000)), {"Content-Encoding": "gzip"}, 413, "body_too_large"),
    "cut gzip": (gzip.compress(b"{}")[:-1], {"Content-Encoding": "gzip"}, 400, "invalid_encoding"),
    "unknown encoding": (b"{}", {"Content-Encoding": "lzma"}, 415, "unsupported_encoding"),
    "compressed twice": (gzip.compress(gzip.compress(b"{}")), {}, 415, "nested_encoding"),
    "beyond the cap": (bytes(2 * 500 * 1024 + 1), {}, 413, "body_too_large"),
}


@pytest.mark.parametrize(("body", "headers", "status", "code"), GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_refused_at_once_and_the_next_event_is_taken(
    ingress: RunningIngress, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    secret, _ = known_key(ingress)
    path = "/v1/batch" if code == "too_deep" and len(body) > 32_768 else "/v1/track"
    reply = ingress.post(path, body, secret, **headers)
    assert (reply.status, reply.json["code"]) == (status, code)
    assert ingress.post("/v1/track", {"userId": "u"}, secret).status == 200


def test_chunked_body_beyond_the_cap_is_refused_while_it_comes(ingress: RunningIngress) -> None:
    with socket.create_connection(("127.0.0.1", ingress.settings.port), timeout=10) as client:
        client.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        for _ in range(16):
            client.sendall(chunk)
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")


NO_HTTP = {
    "two lengths": b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "not http": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "no path": b"GET \xff HTTP/1.1\r\n\r\n",
    "length that is none": b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
def test_what_is_no_http_is_refused_and_the_connection_closed(ingress: RunningIngress, sent: bytes) -> None:
    assert conversation(ingress, sent).startswith(b"HTTP/1.1 400 ")


def test_head_without_end_is_refused(ingress: RunningIngress) -> None:
    sent = b"POST /v1/track HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000
    assert conversation(ingress, sent).startswith(b"HTTP/1.1 431 ")


def test_paths_and_methods_that_are_not_there_are_told_in_json(ingress: RunningIngress) -> None:
    missing = ingress.request("GET", "/v1/nothing")
    assert (missing.status, missing.json["code"]) == (404, "not_found")
    wrong = ingress.request("GET", "/v1/track")
    assert (wrong.status, wrong.json["code"], wrong.headers["allow"]) == (405, "method_not_allowed", "OPTIONS, POST")


def test_health_says_live_and_ready(ingress: RunningIngress) -> None:
    assert ingress.request("GET", "/health/live").json == {"status": "live"}
    assert ingress.request("GET", "/health/ready").json == {"status": "ready"}


def test_missing_topics_end_the_process_with_what_to_do(
    own_kafka: RunningKafka, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running_ingress(own_kafka.bootstrap, tmp_path_factory.mktemp("bare")) as ingress:
        assert ingress.process.wait(30) == 1
        assert "run `whipstitch topics create`" in ingress.log()


def test_paused_broker_means_503_and_nothing_answered_200_is_missing(
    own_kafka: RunningKafka, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = Settings.model_validate({"kafka": own_kafka.bootstrap, "partitions": 4})
    asyncio.run(create_topics(settings))
    with running_ingress(own_kafka.bootstrap, tmp_path_factory.mktemp("paused"), max_wait_s=0.5) as ingress:
        wait_ready(ingress)
        secret, key = known_key(ingress)

        def statuses(name: str) -> dict[str, int]:
            with ThreadPoolExecutor(8) as pool:
                ids = [f"{name}-{n}" for n in range(16)]
                replies = pool.map(
                    lambda id_: ingress.post("/v1/track", {"messageId": id_, "userId": id_}, secret), ids
                )
                return {id_: reply.status for id_, reply in zip(ids, replies, strict=True)}

        answered = statuses("before")
        assert set(answered.values()) == {200}
        with paused(own_kafka.process):
            refused = ingress.post("/v1/track", {"messageId": "paused", "userId": "u"}, secret)
            assert (refused.status, refused.json["code"]) == (503, "kafka_slow")
            assert refused.headers["retry-after"] == str(RETRY_AFTER_S)
            during = statuses("during")
            assert set(during.values()) == {503}
            not_ready = ingress.request("GET", "/health/ready")
            assert (not_ready.status, not_ready.json["status"]) == (503, "not_ready")
            assert not_ready.json["reason"]
        eventually(ingress.is_ready, "the ingress is ready again")
        answered |= statuses("after")
        assert set(answered.values()) == {200}
        written = {each.stamp.message_id for each in raw_records(settings, key.project_id)}
        assert set(answered) <= written


def test_stopping_in_front_of_a_paused_broker_answers_503_and_ends(
    own_kafka: RunningKafka, tmp_path_factory: pytest.TempPathFactory
) -> None:
    asyncio.run(create_topics(Settings.model_validate({"kafka": own_kafka.bootstrap})))
    with running_ingress(own_kafka.bootstrap, tmp_path_factory.mktemp("stuck"), max_wait_s=0.5) as ingress:
        wait_ready(ingress)
        secret, _ = known_key(ingress)
        with paused(own_kafka.process):
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(ingress.post, "/v1/track", {"userId": "u"}, secret)
                eventually(lambda: ingress.request("GET", "/health/ready").status == 503, "it is not ready")
                ingress.process.terminate()
                assert waiting.result(20).status == 503
            assert ingress.process.wait(20) == 0, ingress.log()


def test_broker_that_comes_later_is_waited_for(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_ingress(f"127.0.0.1:{free_port()}", tmp_path_factory.mktemp("early")) as ingress:
        eventually(lambda: "cannot connect to Kafka" in ingress.log(), "it says that Kafka is away")
        not_ready = ingress.request("GET", "/health/ready")
        assert not_ready.status == 503
        assert "cannot connect to Kafka" in not_ready.json["reason"]
        assert ingress.request("GET", "/health/live").status == 200
        refused = ingress.post("/v1/track", {"userId": "u"}, "sk_x")
        assert (refused.status, refused.headers["retry-after"]) == (503, str(RETRY_AFTER_S))
        ingress.process.terminate()
        assert ingress.process.wait(20) == 0


def test_port_in_use_ends_the_process_with_what_to_do(
    ingress: RunningIngress, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kafka, port = ingress.settings.kafka, ingress.settings.port
    with running_ingress(kafka, tmp_path_factory.mktemp("taken"), port=port) as second:
        assert second.process.wait(30) == 1
        assert "choose another WHIPSTITCH_PORT" in second.log()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_stopping_under_load_loses_nothing_that_was_answered(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, stop: signal.Signals
) -> None:
    with running_ingress(settings.kafka, tmp_path_factory.mktemp("drained")) as ingress:
        wait_ready(ingress)
        secret, key = known_key(ingress)
        answered: list[str] = []
        some = threading.Event()

        def send(worker: int) -> None:
            for n in range(100_000):
                message_id = f"{worker}-{n}"
                try:
                    reply = ingress.post("/v1/track", {"userId": message_id, "messageId": message_id}, secret)
                except OSError:
                    return
                if reply.status == 200:
                    answered.append(message_id)
                    if len(answered) > 100:
                        some.set()

        with ThreadPoolExecutor(8) as pool:
            sending = [pool.submit(send, worker) for worker in range(8)]
            assert some.wait(30)
            os.kill(ingress.process.pid, stop)
            assert ingress.process.wait(30) == 0, ingress.log()
            for each in sending:
                each.result(30)
        assert set(answered) <= {each.stamp.message_id for each in raw_records(settings, key.project_id)}


def test_basic_authorization_and_short_user_agent_are_not_needed(ingress: RunningIngress) -> None:
    secret, _ = known_key(ingress)
    basic = base64.b64encode(f"{secret}:".encode()).decode()
    assert ingress.post("/v1/page/", {"userId": "u"}, Authorization=f"Basic {basic}").status == 200
    assert ingress.post("/v1/page/", {"userId": "u", "writeKey": secret}).status == 200


def conversation(ingress: RunningIngress, sent: bytes) -> bytes:
    """What comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", ingress.settings.port), timeout=10) as client:
        client.sendall(sent)
        received = b""
        while part := client.recv(4096):
            received += part
        return received


def test_metrics_count_what_was_answered_and_taken(ingress: RunningIngress) -> None:
    secret, _ = known_key(ingress)
    before = _metric(ingress, "whipstitch_events_taken_total")
    call = {"type": "track", "event": "E", "anonymousId": "a"}
    assert ingress.post("/v1/batch", {"batch": [call, call]}, secret).status == 200
    assert _metric(ingress, "whipstitch_events_taken_total") == before + 2
    assert _metric(ingress, 'whipstitch_http_answers_total{path="/v1/batch",status="200"}') >= 1
    ingress.request("GET", "/no/such/path")
    assert _metric(ingress, 'whipstitch_http_answers_total{path="other",status="404"}') >= 1


def _metric(ingress: RunningIngress, name: str) -> float:
    lines = ingress.request("GET", "/metrics").body.decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))
