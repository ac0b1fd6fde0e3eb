"""Whose request it is, on the paths that Segment's and Millimetric's clients share."""

import asyncio
import base64
import json
from typing import Any, cast

import pytest

from ingress import millimetric, segment
from ingress.app import App, Backend, Counts
from ingress.body import BodyReader
from ingress.contract import Route
from ingress.dialects import is_millimetric, with_shared_paths
from ingress.errors import RETRY_AFTER_S
from ingress.publisher import Publisher
from pipeline.directory import Directory
from pipeline.settings import Settings

BASIC = {b"authorization": b"Basic " + base64.b64encode(b"sk_1:")}
BEARER = {b"authorization": b"Bearer sk_1"}
SETTINGS = Settings.model_validate({})
ROUTES = with_shared_paths(segment.routes(SETTINGS), millimetric.routes(SETTINGS))
SEGMENT, MILLIMETRIC = False, True

CASES: dict[str, tuple[dict[bytes, bytes], object, bool]] = {
    "basic, camel": (BASIC, {"userId": "u"}, SEGMENT),
    "basic, snake": (BASIC, {"user_id": "u", "anonymous_id": "a"}, SEGMENT),
    "basic, neither": (BASIC, {"event": "E"}, SEGMENT),
    "basic in small letters": ({b"authorization": b"basic c2tfMTo="}, {"user_id": "u"}, SEGMENT),
    "bearer, snake": (BEARER, {"user_id": "u", "anonymous_id": "a"}, MILLIMETRIC),
    "bearer, neither": (BEARER, {"event": "E", "properties": {}}, MILLIMETRIC),
    "bearer, userId": (BEARER, {"userId": "u"}, SEGMENT),
    "bearer, anonymousId": (BEARER, {"anonymousId": "a", "event": "E"}, SEGMENT),
    "bearer, messageId": (BEARER, {"messageId": "m", "event": "E"}, SEGMENT),
    "bearer, writeKey": (BEARER, {"writeKey": "sk_1", "event": "E"}, SEGMENT),
    "bearer, writeKey among snake": (BEARER, {"writeKey": "sk_1", "user_id": "u"}, SEGMENT),
    "bearer, both spellings": (BEARER, {"userId": "u", "user_id": "u"}, MILLIMETRIC),
    "bearer, camel only further in": (BEARER, {"event": "E", "properties": {"userId": "u"}}, MILLIMETRIC),
    "bearer in capitals": ({b"authorization": b"BEARER sk_1"}, {"event": "E"}, MILLIMETRIC),
    "bearer without a key": ({b"authorization": b"Bearer"}, {"event": "E"}, MILLIMETRIC),
    "bearer, of another make": ({b"authorization": b"Bearer eyJ.x"}, {"user_id": "u"}, MILLIMETRIC),
    "bearer, array": (BEARER, [], MILLIMETRIC),
    "bearer, events": (BEARER, {"events": []}, MILLIMETRIC),
    "bearer, events in camel": (BEARER, {"events": [{"userId": "u"}]}, MILLIMETRIC),
    "bearer, batch in camel": (BEARER, {"batch": [{"userId": "u"}]}, SEGMENT),
    "bearer, batch in snake": (BEARER, {"batch": [{"event": "E", "user_id": "u"}]}, MILLIMETRIC),
    "bearer, batch, the first that tells": (BEARER, {"batch": [{"event": "E"}, {"user_id": "u"}]}, MILLIMETRIC),
    "bearer, batch with types": (BEARER, {"batch": [{"type": "track", "event": "E"}]}, SEGMENT),
    "bearer, batch that tells nothing": (BEARER, {"batch": [{"event": "E"}]}, MILLIMETRIC),
    "bearer, batch with sentAt": (BEARER, {"batch": [{"event": "E"}], "sentAt": "2026-11-01T00:00:00Z"}, SEGMENT),
    "bearer, empty batch": (BEARER, {"batch": []}, SEGMENT),
    "bearer, batch of numbers": (BEARER, {"batch": [1]}, MILLIMETRIC),
    "nothing, snake": ({}, {"user_id": "u", "anonymous_id": "a"}, MILLIMETRIC),
    "nothing, events": ({}, {"events": []}, MILLIMETRIC),
    "nothing, camel": ({}, {"userId": "u"}, SEGMENT),
    "nothing, neither": ({}, {"event": "E"}, SEGMENT),
    "nothing but writeKey": ({}, {"writeKey": "sk_1", "user_id": "u"}, SEGMENT),
    "digest": ({b"authorization": b"Digest x"}, {"user_id": "u"}, SEGMENT),
}


@pytest.mark.parametrize(("headers", "body", "expected"), CASES.values(), ids=CASES)
def test_credentials_say_whose_it_is_and_spelling_breaks_a_tie(
    headers: dict[bytes, bytes], body: object, expected: bool
) -> None:
    assert is_millimetric(headers, json.dumps(body).encode()) is expected


@pytest.mark.parametrize("body", [b"", b"{", b'{"x":"\xff"}', b"[" * 100_000, b'{"batch":' + b"[" * 100_000])
def test_what_cannot_be_read_is_whose_its_credentials_say(body: bytes) -> None:
    assert is_millimetric(BEARER, body)
    assert not is_millimetric(BASIC, body)
    assert not is_millimetric({}, body)


def test_half_of_an_emoji_does_not_change_whose_it_is() -> None:
    assert not is_millimetric(BEARER, rb'{"userId":"u","properties":{"title":"cut \ud83d"}}')


def test_only_the_three_paths_are_shared() -> None:
    shared = {path for (_, path), route in ROUTES.items() if route.choose is not None}
    assert shared == {f"/v1/{call}{slash}" for call in ("identify", "track", "batch") for slash in ("", "/")}


def test_basic_is_chosen_without_a_look_at_the_body() -> None:
    nothing_to_look_at = cast(bytes, None)
    with pytest.raises(TypeError):
        is_millimetric(BEARER, nothing_to_look_at)
    assert not is_millimetric(BASIC, nothing_to_look_at)


def asked(app: App, path: str, body: bytes, headers: dict[bytes, bytes]) -> tuple[int, dict[bytes, bytes], Any]:
    """What the application answers, even if it raises afterwards."""
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"method": "POST", "path": path, "headers": list(headers.items()), "query_string": b"", "client": None}
    try:
        asyncio.run(app(scope, receive, send))
    finally:
        LAST.clear()
        LAST.extend(messages)
    return told()


LAST: list[Any] = []


def told() -> tuple[int, dict[bytes, bytes], Any]:
    start, end = LAST
    return start["status"], dict(start["headers"]), json.loads(end["body"])


def app_of(routes: dict[tuple[str, str], Route]) -> App:
    return App(routes, {}, BodyReader(1000, 10_000, 1), Counts())


def test_without_kafka_each_client_is_told_in_its_own_words_when_to_come_again() -> None:
    app = app_of(dict(ROUTES))
    status, headers, said = asked(app, "/v1/track", b'{"event":"E"}', BEARER)
    assert (status, headers[b"retry-after"], said["error"]) == (503, b"%d" % RETRY_AFTER_S, "internal_error")
    status, headers, said = asked(app, "/v1/track", b'{"event":"E","userId":"u"}', BEARER)
    assert (status, headers[b"retry-after"], said["code"]) == (503, b"%d" % RETRY_AFTER_S, "kafka_unavailable")


def test_body_beyond_the_cap_is_refused_in_the_words_that_the_credentials_ask_for() -> None:
    app = app_of(dict(ROUTES))
    assert asked(app, "/v1/track", b"x" * 1001, BEARER)[::2][1]["error"] == "invalid_payload"
    assert asked(app, "/v1/track", b"x" * 1001, BASIC)[::2][1]["code"] == "body_too_large"


def test_batch_of_millimetrics_may_be_as_large_as_its_events() -> None:
    app = app_of(dict(ROUTES))
    assert asked(app, "/v1/batch", b'{"events":[]}'.ljust(100_000), BEARER)[0] == 503
    assert asked(app, "/v1/batch", b'{"batch":[]}'.ljust(100_000), BASIC)[0] == 413


class _View:
    directory = Directory()


@pytest.mark.parametrize("headers", [BEARER, BASIC], ids=["millimetric", "segment"])
def test_fault_of_ours_is_answered_500_and_goes_on_to_the_log(headers: dict[bytes, bytes]) -> None:
    def fail(*_: object) -> Any:
        raise ZeroDivisionError

    broken = {at: Route(fail, route.refuse, route.max_body_bytes) for at, route in millimetric.routes(SETTINGS).items()}
    also = {at: Route(fail, route.refuse) for at, route in segment.routes(SETTINGS).items()}
    app = app_of(dict(with_shared_paths(also, broken)))
    app.backend = Backend(cast(Publisher, None), _View())
    with pytest.raises(ZeroDivisionError):
        asked(app, "/v1/track", b"{}", headers)
    status, _, said = told()
    assert (status, said["error" if headers is BEARER else "code"]) == (500, "internal_error")
