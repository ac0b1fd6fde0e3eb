"""Mixpanel's clients over HTTP, to the rows that are stored: its documentation's example, and its Python client."""

import gzip
import json
import re
import urllib.parse
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

import mixpanel
import pytest

from tests.fixtures.system import System
from tests.integration.ingress_process import Reply, RunningIngress, make_key, running_ingress, wait_ready
from tests.waiting import eventually
from topics.control import KeyKind

SEED = Path(__file__).parents[3] / "shared" / "seeds" / "004_cd5563fdb84e7280.txt"
DEVICE = "0b6d2f5e-3c1a-4d2b-9e4f-8a7c6b5d4e3f"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

needs_seed = pytest.mark.skipif(not SEED.exists(), reason=f"the page that it is taken from is not here: {SEED}")


@pytest.fixture(scope="module")
def ingress(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningIngress]:
    with (
        running_ingress(system.settings.kafka, tmp_path_factory.mktemp("ingress")) as running,
        system.worker(),
    ):
        wait_ready(running)
        yield running


def a_key(ingress: RunningIngress, kind: KeyKind, project: str | None = None) -> tuple[str, str]:
    """A key that the ingress knows, and its project."""
    secret, made = make_key(ingress.settings, project, kind)
    empty = {"Authorization": f"Bearer {secret}"}
    nobody = {"event": "E", "properties": {"token": secret, "time": 1}}
    eventually(lambda: ingress.request("POST", "/track?strict=1", body(nobody), empty).status == 400, "the key")
    return secret, made.project_id


def body(record: object) -> bytes:
    return json.dumps(record).encode()


def post_form(ingress: RunningIngress, path: str, fields: dict[str, str]) -> Reply:
    return ingress.request("POST", path, urllib.parse.urlencode(fields).encode(), FORM)


def stored(system: System, project: str, count: int) -> list[dict[str, Any]]:
    where = "events WHERE project_id = {p:String}"
    eventually(lambda: system.count(where, p=project) == count, f"{count} events of {project}")
    return system.rows(f"SELECT * FROM {where} ORDER BY timestamp, message_id", p=project)


def refused(system: System, project: str, count: int) -> list[dict[str, Any]]:
    where = "rejected_events WHERE project_id = {p:String}"
    eventually(lambda: system.count(where, p=project) == count, f"{count} dead letters of {project}")
    return system.rows(f"SELECT reason, detail, raw FROM {where}", p=project)


def json_of(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def examples() -> list[tuple[str, bytes]]:
    """The page's curl requests: `data`, and the body as curl would send it of the `--data` arguments."""
    page = SEED.read_text()
    requests = re.findall(r"curl --request POST(.*?)(?=^1$|^Identify Criteria)", page, re.DOTALL | re.MULTILINE)
    sent = [re.findall(r"--data (?:'(.*?)'|(\S+))", request, re.DOTALL) for request in requests]
    bodies = ["&".join(quoted or plain for quoted, plain in fields) for fields in sent]
    return [(text.removeprefix("data=").partition("&")[0], text.encode()) for text in bodies]


@needs_seed
def test_page_has_two_examples() -> None:
    assert [json.loads(data)["properties"].keys() for data, _ in examples()] == [
        {"$identified_id", "$anon_id", "token"},
        {"$identified_id", "$anon_id", "token"},
    ]


@needs_seed
@pytest.mark.parametrize("example", [0, 1])
def test_identify_of_the_documentation_is_stored_field_by_field(
    system: System, ingress: RunningIngress, example: int
) -> None:
    token, project = a_key(ingress, "public")
    data, form = examples()[example]
    placeholders = {
        b"YOUR_PROJECT_TOKEN": token.encode(),
        b"NEW_ID": DEVICE.encode(),
        b"ORIGINAL_ANON_ID": DEVICE.encode(),
    }
    for placeholder, value in placeholders.items():
        form, data = form.replace(placeholder, value), data.replace(placeholder.decode(), value.decode())
    reply = ingress.request("POST", "/track", form, {**FORM, "Accept": "text/plain"})
    assert (reply.status, reply.body) == (200, b"1")
    assert reply.headers["content-type"].startswith("text/plain")
    (row,) = stored(system, project, 1)
    user = json.loads(data)["properties"]["$identified_id"]
    session = f"{DEVICE}-{int(row['timestamp'].timestamp() // 1800)}"
    assert (row["type"], row["event_name"], row["session_id"]) == ("identify", "$identify", session)
    assert (row["anonymous_id"], row["user_id"], row["stitched_user_id"]) == (DEVICE, user, user)
    assert json_of(row["properties"]) == {"$identified_id": user, "$anon_id": DEVICE}
    assert json_of(row["context"]) == {"ip": "127.0.0.1"}
    assert row["raw"].strip() == data.strip()
    assert row["timestamp"] == row["received_at"]
    assert (row["original_timestamp"], row["sent_at"], row["library"], row["warnings"]) == (None, None, None, [])
    assert (json_of(row["traits"]), json_of(row["integrations"])) == ({}, {})


@needs_seed
def test_identify_of_the_documentation_as_it_stands_names_no_uuid_and_is_a_dead_letter(
    system: System, ingress: RunningIngress
) -> None:
    token, project = a_key(ingress, "public")
    _, form = examples()[0]
    reply = ingress.request("POST", "/track", form.replace(b"YOUR_PROJECT_TOKEN", token.encode()), FORM)
    assert (reply.status, reply.body) == (200, b"0")
    (letter,) = refused(system, project, 1)
    assert letter["reason"] == "invalid_field"
    assert "$anon_id" in letter["detail"]


def test_browser_and_server_are_one_person_once_they_are_linked(system: System, ingress: RunningIngress) -> None:
    token, project = a_key(ingress, "public")
    secret, _ = a_key(ingress, "secret", project)
    device = {"distinct_id": f"$device:{DEVICE}", "$device_id": DEVICE, "token": token}
    person = {"distinct_id": "u", "$user_id": "u", "$device_id": DEVICE, "token": token}
    now = clock_of(ingress)
    events = [
        {"event": "Bought", "properties": {**person, "$insert_id": "m3", "time": now - 1.5}},
        {"event": "Viewed", "properties": {**device, "$insert_id": "m1", "time": now - 3.25}},
        {"event": "$identify", "properties": {**person, "$insert_id": "m2", "time": now - 2}},
    ]
    fields = {"data": json.dumps(events)}
    reply = post_form(ingress, "/track/?verbose=1&ip=1&_=1789999990123", fields)
    assert (reply.status, reply.json) == (200, {"status": 1, "error": None})
    imported = {"event": "Refunded", "properties": {"distinct_id": "u", "$insert_id": "m4", "time": 1_600_000_000}}
    lines = gzip.compress(b"%b\n" % body(imported))
    headers = {"Authorization": f"Bearer {secret}", "Content-Encoding": "gzip", "Content-Type": "application/x-ndjson"}
    reply = ingress.request("POST", "/import?strict=1", lines, headers)
    assert (reply.status, reply.json) == (200, {"code": 200, "num_records_imported": 1, "status": "OK"})
    stored(system, project, 4)
    links = "identity_links WHERE project_id = {p:String}"
    eventually(lambda: system.count(links, p=project) == 2, "the links")
    rows = system.rows(
        "SELECT message_id, resolved_user_id FROM events_resolved_v WHERE project_id = {p:String} ORDER BY message_id",
        p=project,
    )
    assert [tuple(row.values()) for row in rows] == [("m1", "u"), ("m2", "u"), ("m3", "u"), ("m4", "u")]


def clock_of(ingress: RunningIngress) -> float:
    """The ingress's own clock, as its answers tell it."""
    return parsedate_to_datetime(ingress.request("GET", "/health/live").headers["date"]).timestamp()


def test_unknown_token_is_no_success(ingress: RunningIngress) -> None:
    reply = post_form(ingress, "/track", {"data": '{"event":"E","properties":{"token":"nobody"}}'})
    assert (reply.status, reply.body) == (401, b"0")


def test_body_of_nine_megabytes_is_read_and_of_eleven_is_not(ingress: RunningIngress) -> None:
    secret, _ = a_key(ingress, "secret")
    headers = {"Authorization": f"Bearer {secret}"}
    assert ingress.request("POST", "/import", b"[" + b" " * (9 << 20) + b"]", headers).status == 200
    reply = ingress.request("POST", "/import", b"[" + b" " * (11 << 20) + b"]", headers)
    assert (reply.status, reply.json["code"]) == (413, 413)


def test_each_call_of_the_python_client_is_stored(
    system: System, ingress: RunningIngress, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, project = a_key(ingress, "secret")
    paths = {"events": "track", "people": "engage", "groups": "groups", "import": "import"}
    urls = {f"{name}_url": f"{ingress.url}/{path}" for name, path in paths.items()}
    buffered = mixpanel.BufferedConsumer(**urls)
    # `alias` makes a consumer of its own, which cannot be told another host.
    monkeypatch.setattr(mixpanel, "Consumer", partial(mixpanel.Consumer, **urls))
    client = mixpanel.Mixpanel(secret, mixpanel.Consumer())
    client.track("u", "Viewed", {"plan": "pro"})
    client.track(DEVICE, "Landed")
    client.alias("u-new", "u")
    client.import_data(None, "u", "Bought", 1_600_000_000, {"price": 49}, api_secret=secret)
    client.merge(None, "u", "other", api_secret=secret)
    client.people_set("u", {"$email": "u@example.com", "plan": "pro"})
    client.people_set_once("u", {"first": "yes"})
    client.people_unset("u", ["plan"])
    client.people_increment("u", {"n": 1})
    client.people_append("u", {"items": "a"})
    client.people_union("u", {"items": ["b"]})
    client.people_remove("u", {"items": "a"})
    client.people_track_charge("u", 49)
    client.people_clear_charges("u")
    client.people_delete("u")
    client.group_set("company", "Acme", {"$name": "Acme Inc."})
    client.group_set_once("company", "Acme", {"plan": "pro"})
    client.group_union("company", "Acme", {"sites": ["x"]})
    client.group_unset("company", "Acme", ["plan"])
    client.group_remove("company", "Acme", {"sites": "x"})
    client.group_delete("company", "Acme")
    gathering = mixpanel.Mixpanel(secret, buffered)
    for n in range(3):
        gathering.track(f"u{n}", "Gathered")
    buffered.flush()
    rows = stored(system, project, 24)
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        at = (row["type"], row["event_name"])
        counts[at] = counts.get(at, 0) + 1
    assert counts == {
        ("track", "Viewed"): 1,
        ("track", "Landed"): 1,
        ("track", "Bought"): 1,
        ("track", "Gathered"): 3,
        ("track", "$merge"): 1,
        ("alias", "$alias"): 1,
        ("identify", "$identify"): 4,
        ("track", "$add"): 1,
        ("track", "$append"): 2,
        ("track", "$union"): 2,
        ("track", "$remove"): 2,
        ("track", "$delete"): 2,
        ("group", "$group"): 3,
    }
    (viewed,) = [row for row in rows if row["event_name"] == "Viewed"]
    assert (viewed["user_id"], viewed["library"]) == ("u", f"python/{mixpanel.__version__}")
    assert json_of(viewed["properties"])["plan"] == "pro"
    (landed,) = [row for row in rows if row["event_name"] == "Landed"]
    assert (landed["anonymous_id"], landed["user_id"]) == (DEVICE, None)


def test_python_client_learns_of_a_mistake(ingress: RunningIngress) -> None:
    secret, _ = a_key(ingress, "secret")
    client = mixpanel.Mixpanel(secret, mixpanel.Consumer(events_url=f"{ingress.url}/track"))
    with pytest.raises(mixpanel.MixpanelException, match=r"properties\.time"):
        client.track("u", "E", {"time": 1})
    stranger = mixpanel.Mixpanel("nobody", mixpanel.Consumer(events_url=f"{ingress.url}/track"))
    with pytest.raises(mixpanel.MixpanelException, match="key"):
        stranger.track("u", "E")
