"""Millimetric's clients over HTTP, to the rows that are stored and the queries of its documentation."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.control import write_control
from tests.fixtures.system import System
from tests.integration.ingress_process import RunningIngress, make_key, running_ingress, wait_ready
from tests.waiting import eventually
from topics.control import Key, key_hash, key_hint, new_key

ROOT = Path(__file__).parents[2]
SEED = ROOT.parent / "shared" / "seeds" / "000_e205c580b4b32f1e.txt"
DOCS = ROOT / "docs" / "millimetric.md"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def ingress(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningIngress]:
    with (
        running_ingress(system.settings.kafka, tmp_path_factory.mktemp("ingress")) as running,
        system.worker(),
    ):
        wait_ready(running)
        yield running


@pytest.fixture
def key(ingress: RunningIngress) -> tuple[str, str]:
    """A key that the ingress knows, and its project."""
    secret, made = make_key(ingress.settings)
    eventually(lambda: send(ingress, "batch", {"events": []}, secret) == (202, {"ok": True, "count": 0}), "the key")
    return secret, made.project_id


def send(ingress: RunningIngress, call: str, body: object, secret: str) -> tuple[int, Any]:
    reply = ingress.post(f"/v1/{call}", body, None, Authorization=f"Bearer {secret}")
    return reply.status, reply.json


def stored(system: System, project: str, count: int) -> list[dict[str, Any]]:
    where = "events WHERE project_id = {p:String}"
    eventually(lambda: system.count(where, p=project) == count, f"{count} events of {project}")
    return system.rows(f"SELECT * FROM {where} ORDER BY timestamp, message_id", p=project)


@pytest.mark.skipif(not SEED.exists(), reason=f"the page that it is taken from is not here: {SEED}")
def test_identify_of_the_documentation_is_stored_field_by_field(
    system: System, ingress: RunningIngress, key: tuple[str, str]
) -> None:
    secret, project = key
    request, response = blocks(SEED.read_text(), "json")
    request = request.strip()
    assert send(ingress, "identify", request.encode(), secret) == (200, json.loads(response))
    (row,) = stored(system, project, 1)
    sent = json.loads(request)
    session = f"u_abc-{int(row['timestamp'].timestamp() // 1800)}"
    assert (row["type"], row["event_name"], row["session_id"]) == ("identify", "$identify", session)
    assert (row["anonymous_id"], row["user_id"], row["stitched_user_id"]) == ("u_abc", "user_42", "user_42")
    assert json_of(row["properties"]) == json_of(row["traits"]) == sent["traits"]
    assert json_of(row["context"]) == {}
    assert row["raw"] == request
    assert row["timestamp"] == row["received_at"]
    assert (row["original_timestamp"], row["sent_at"], row["library"], row["warnings"]) == (None, None, None, [])


def json_of(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


@pytest.mark.skipif(not SEED.exists(), reason=f"the page that it is taken from is not here: {SEED}")
def test_query_of_the_documentation_runs_as_it_is_written(
    system: System, ingress: RunningIngress, key: tuple[str, str]
) -> None:
    secret, project = key
    now = datetime.now(UTC).replace(microsecond=0)
    days_ago = {days: (now - timedelta(days=days)).isoformat().replace("+00:00", "Z") for days in (40, 5, 4, 3, 2)}
    events = [
        {"event": "visit", "anonymous_id": "a1", "timestamp": days_ago[5]},
        {"event": "$identify", "anonymous_id": "a1", "user_id": "u1", "timestamp": days_ago[4]},
        {"event": "purchase", "anonymous_id": "a1", "user_id": "u1", "timestamp": days_ago[2]},
        {"event": "purchase", "anonymous_id": "a1", "user_id": "u1", "timestamp": days_ago[3]},
        {"event": "purchase", "anonymous_id": "a2", "user_id": "u2", "timestamp": days_ago[40]},
        {"event": "visit", "user_id": "u2", "timestamp": days_ago[2]},
    ]
    assert send(ingress, "batch", {"events": events}, secret) == (202, {"ok": True, "count": 6})
    assert send(ingress, "identify", {"anonymous_id": "a3", "user_id": "u3"}, secret)[0] == 200
    rows = stored(system, project, 7)
    (query,) = blocks(SEED.read_text(), "sql")
    answer = {row["user_id"]: row for row in system.rows(query.replace("'...'", f"'{project}'"))}
    day = {days: datetime.fromisoformat(at) for days, at in days_ago.items()}
    assert {user: (row["signed_up_at"], row["first_purchase"]) for user, row in answer.items()} == {
        "u1": (day[4], day[3]),
        "u2": (None, None),
        "u3": (rows[-1]["timestamp"], None),
    }


def test_history_is_not_rewritten_and_still_resolved(
    system: System, ingress: RunningIngress, key: tuple[str, str]
) -> None:
    secret, project = key
    before = {"event": "visit", "event_id": "before", "anonymous_id": "a1"}
    assert send(ingress, "track", before, secret) == (202, {"ok": True, "event_id": "before"})
    (row,) = stored(system, project, 1)
    assert (
        send(ingress, "identify", {"anonymous_id": "a1", "user_id": "u1", "traits": {"plan": "pro"}}, secret)[0] == 200
    )
    assert row in stored(system, project, 2)
    assert row["user_id"] is None
    links = "identity_links WHERE project_id = {p:String} AND kind = 'exact'"
    eventually(lambda: system.count(links, p=project) == 1, "the link")
    resolved = system.rows(
        "SELECT resolved_user_id FROM events_resolved_v WHERE project_id = {p:String} AND message_id = 'before'",
        p=project,
    )
    assert resolved == [{"resolved_user_id": "u1"}]
    (person,) = system.rows("SELECT user_id, traits FROM persons_v WHERE project_id = {p:String}", p=project)
    assert (person["user_id"], json_of(person["traits"])) == ("u1", {"plan": "pro"})


def test_session_sees_the_user_on_its_identify(system: System, ingress: RunningIngress, key: tuple[str, str]) -> None:
    secret, project = key
    at = {"anonymous_id": "a1", "session_id": "s1"}
    events = [{"event": "visit", **at}, {"event": "$identify", "user_id": "u1", **at}]
    assert send(ingress, "batch", {"events": events}, secret)[0] == 202
    stored(system, project, 2)
    (session,) = system.rows("SELECT * FROM sessions_v WHERE project_id = {p:String}", p=project)
    assert (session["session_id"], session["user_id"], session["events"]) == ("s1", "u1", 2)


def test_event_sent_again_is_stored_once_and_has_the_same_made_up_id(
    system: System, ingress: RunningIngress, key: tuple[str, str]
) -> None:
    secret, project = key
    event_id = "e" * 128
    for _ in range(2):
        assert send(ingress, "track", {"event": "E", "event_id": event_id}, secret)[0] == 202
    assert send(ingress, "track", {"event": "last", "event_id": "last"}, secret)[0] == 202
    rows = {row["message_id"]: row["anonymous_id"] for row in stored(system, project, 2)}
    assert rows == {event_id: f"$blocked:{event_id}", "last": "$blocked:last"}


def test_batch_of_a_thousand_large_events_is_stored_whole(
    system: System, ingress: RunningIngress, key: tuple[str, str]
) -> None:
    secret, project = key
    events = [{"event": "E", "anonymous_id": f"a{n % 50}", "properties": {"x": "y" * 2000}} for n in range(1000)]
    assert send(ingress, "batch", {"events": events}, secret) == (202, {"ok": True, "count": 1000})
    stored(system, project, 1000)


def test_batch_with_one_wrong_event_stores_nothing(
    system: System, ingress: RunningIngress, key: tuple[str, str]
) -> None:
    secret, project = key
    status, said = send(ingress, "batch", {"events": [{"event": "E"}, {"event": "E", "url": 5}]}, secret)
    assert (status, said["error"], list(said["details"]["fieldErrors"])) == (400, "invalid_payload", ["events.1.url"])
    assert send(ingress, "track", {"event": "only", "event_id": "only"}, secret)[0] == 202
    assert [row["message_id"] for row in stored(system, project, 1)] == ["only"]


def test_half_of_an_emoji_in_the_properties_is_stored(
    system: System, ingress: RunningIngress, key: tuple[str, str]
) -> None:
    secret, project = key
    body = rb'{"event":"E","event_id":"cut","anonymous_id":"a","properties":{"title":"cut \ud83d","plan":"pro"}}'
    assert send(ingress, "track", body, secret)[0] == 202
    (row,) = stored(system, project, 1)
    assert json_of(row["properties"])["plan"] == "pro"


def test_key_that_has_sent_enough_is_told_when_to_come_again(ingress: RunningIngress) -> None:
    secret = new_key("secret")
    limited = Key(key_hash(secret), key_hint(secret), "limited", "secret", 1, rate_limit_per_s=1)
    asyncio.run(write_control(ingress.settings, [limited]))
    eventually(lambda: send(ingress, "batch", {"events": []}, secret)[0] == 202, "the key is known")
    send(ingress, "batch", {"events": [{"event": "E"}] * 100}, secret)
    reply = ingress.post("/v1/track", {"event": "E"}, None, Authorization=f"Bearer {secret}")
    assert (reply.status, reply.json["error"]) == (429, "rate_limited")
    assert int(reply.headers["retry-after"]) > 0


def test_segments_and_millimetrics_clients_share_the_paths(
    system: System, ingress: RunningIngress, key: tuple[str, str]
) -> None:
    secret, project = key
    assert ingress.post("/v1/identify", {"userId": "u", "anonymousId": "s"}, secret).json == {"success": True}
    assert send(ingress, "identify", {"userId": "u", "anonymousId": "b"}, secret) == (200, {"success": True})
    assert send(ingress, "identify", {"user_id": "u", "anonymous_id": "m"}, secret) == (200, {"ok": True})
    assert ingress.post("/v1/identify", {"user_id": "u"}).json["error"] == "missing_bearer_token"
    assert ingress.post("/v1/identify", {"userId": "u"}).json["code"] == "missing_key"
    rows = stored(system, project, 3)
    assert {(row["event_name"], row["anonymous_id"], row["user_id"]) for row in rows} == {
        ("$identify", anonymous_id, "u") for anonymous_id in "sbm"
    }


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_requests_of_our_documentation_work_when_they_are_pasted(
    system: System, ingress: RunningIngress, key: tuple[str, str]
) -> None:
    secret, project = key
    text = DOCS.read_text().replace("http://127.0.0.1:8080", ingress.url)
    pasted = re.findall(r"^```sh\n(curl .*?)^```\n```json\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(pasted) == len([block for block in blocks(text, "sh") if block.startswith("curl ")]) == 5
    for command, answer in pasted:
        environ = {"PATH": os.environ["PATH"], "KEY": secret}
        ran = subprocess.run(["sh", "-c", command], env=environ, capture_output=True, text=True, timeout=30, check=True)
        assert json.loads(ran.stdout) == json.loads(answer), command
    names = [row["event_name"] for row in stored(system, project, 5)]
    assert sorted(names) == ["$identify", "$pageview", "$pageview", "click", "purchase"]
