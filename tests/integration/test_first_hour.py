"""The first hour of a person with an app: `up`, the SDK that they have with another host, and `sql`."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from segment.analytics.client import Client
from segment.analytics.request import post

from embedded.process import free_port
from tests.integration.test_up import Up, keep_key, ready, whipstitch
from tests.waiting import eventually


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with ready(tmp_path_factory.mktemp("first-hour"), free_port()) as running_up:
        keep_key(running_up)
        yield running_up


@pytest.fixture
def client(up: Up) -> Client:
    """The real SDK; only its host is changed."""
    key = (up.folder / "key").read_text()
    return Client(key, host=f"http://127.0.0.1:{up.port}", sync_mode=True, max_retries=8, on_error=_raise)


def _raise(error: Exception, _events: object) -> None:
    raise error


def rows(up: Up, query: str) -> list[dict[str, Any]]:
    asked = whipstitch(up.folder, "sql", query, "--json")
    assert asked.returncode == 0, asked.stderr
    return [json.loads(line) for line in asked.stdout.splitlines()]


def test_who_did_what_is_known_a_moment_later_and_nothing_is_there_twice(up: Up, client: Client) -> None:
    client.track(anonymous_id="a-1", event="Looked", message_id="m-1")
    client.identify(anonymous_id="a-1", user_id="ann", traits={"plan": "pro"}, message_id="m-2")
    client.track(anonymous_id="a-1", event="Bought", properties={"price": 49}, message_id="m-3")
    repeated = {"type": "track", "event": "Bought again", "anonymousId": "a-1", "messageId": "m-4"}
    post(client.write_key, client.host, batch=[repeated, repeated, {**repeated, "messageId": "m-5"}])

    stored = "SELECT message_id, stitched_user_id FROM events WHERE message_id LIKE 'm-%' ORDER BY message_id"
    eventually(lambda: len(rows(up, stored)) == 5, "five events", poll_s=0.2)
    assert [tuple(row.values()) for row in rows(up, stored)] == [
        ("m-1", None),
        ("m-2", "ann"),
        ("m-3", "ann"),
        ("m-4", "ann"),
        ("m-5", "ann"),
    ]
    resolved = "SELECT resolved_user_id FROM events_resolved_v WHERE message_id = 'm-1'"
    eventually(lambda: rows(up, resolved) == [{"resolved_user_id": "ann"}], "the earlier event's user", poll_s=0.2)
    [row] = rows(up, "SELECT properties.price::Float64 AS price FROM events WHERE message_id = 'm-3'")
    assert row == {"price": 49}


def test_events_taken_while_the_worker_is_killed_are_there_once_it_is_back(up: Up, client: Client) -> None:
    killed = up.pid("worker")
    for n in range(60):
        if n == 20:
            os.kill(killed, signal.SIGKILL)
        client.track(anonymous_id=f"k-{n % 7}", event="Killed", message_id=f"k-{n}")
    counted = "SELECT count() AS n, uniqExact(message_id) AS ids FROM events WHERE startsWith(message_id, 'k-')"
    eventually(lambda: rows(up, counted) == [{"n": 60, "ids": 60}], "all of them, once", 60, poll_s=0.3)
    assert up.pid("worker") != killed


def test_what_cannot_be_an_event_is_a_dead_letter_with_its_reason(up: Up, client: Client) -> None:
    items: list[dict[str, object]] = [
        {"type": "track", "event": "Large", "anonymousId": "x", "properties": {"x": "y" * 40_960}},
        {"type": "track", "anonymousId": "x"},
        {"type": "track", "event": "Nobody"},
        {"type": "track", "event": "Fine", "anonymousId": "x"},
    ]
    post(client.write_key, client.host, batch=[{**item, "messageId": f"d-{n}"} for n, item in enumerate(items)])
    refused = "SELECT message_id, reason FROM rejected_events WHERE message_id LIKE 'd-%' ORDER BY message_id"
    eventually(lambda: len(rows(up, refused)) == 3, "three dead letters", poll_s=0.2)
    assert [tuple(row.values()) for row in rows(up, refused)] == [
        ("d-0", "too_large"),
        ("d-1", "missing_field"),
        ("d-2", "missing_id"),
    ]
    eventually(lambda: rows(up, "SELECT event_name FROM events WHERE message_id = 'd-3'") != [], "the good one")
