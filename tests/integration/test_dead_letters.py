"""`dead-letters` on real Kafka and a real store: what was refused is seen whole, tried again, or dropped."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest
from click.testing import CliRunner

from broker.scan import scanner
from cli.dead_letters import dead_letters
from pipeline.dead_letters import dead_letter, row
from pipeline.outcome import Rejected
from pipeline.settings import as_environ
from store.dead_letters import Place
from tests.fixtures.system import System
from tests.records import START_MS, TestRecord, raw_call
from tests.waiting import eventually
from topics import persons
from topics.names import PERSONS, RAW, STITCHED
from topics.persons import PersonStep, Standing
from topics.rejected import Reason

LARGE = "x" * 40_000


@pytest.fixture
def project() -> str:
    return f"p{uuid4().hex[:8]}"


@pytest.fixture(autouse=True)
def environment(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in as_environ(system.settings).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def worker(system: System) -> Iterator[None]:
    with system.worker():
        yield


def with_limit(system: System, max_event_bytes: int) -> System:
    return replace(system, settings=system.settings.model_copy(update={"max_event_bytes": max_event_bytes}))


def run(*argv: str, stdin: str | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(dead_letters, argv, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def listed(project: str, *argv: str) -> list[dict[str, object]]:
    code, out, _ = run("list", "--json", "--project", project, *argv)
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def retried(project: str) -> dict[str, int]:
    code, out, _ = run("retry", "--project", project, "--json")
    assert code == 0
    answer = json.loads(out)
    assert isinstance(answer, dict)
    return answer


def track(project: str, message_id: str, n: int = 0, **fields: object) -> TestRecord:
    body = {"type": "track", "event": "E", "anonymousId": "A", "messageId": message_id, **fields}
    return raw_call(body, project_id=project, at_ms=START_MS + n * 1000, offset=n)


def wait_for_letters(project: str, count: int) -> list[dict[str, object]]:
    eventually(lambda: len(listed(project)) == count, f"{count} dead letters of {project}", poll_s=0.1)
    return listed(project)


def events(system: System, project: str) -> list[tuple[object, ...]]:
    rows = system.rows(
        "SELECT message_id, toUnixTimestamp64Milli(received_at) AS at FROM events WHERE project_id = {p:String} "
        "ORDER BY message_id",
        p=project,
    )
    return [tuple(row.values()) for row in rows]


def test_what_is_taken_now_is_stored_as_it_was_received_and_what_is_stored_by_now_not_twice(
    system: System, project: str
) -> None:
    with with_limit(system, 32 * 1024).worker():
        system.publish(
            track(project, "m1", 5, event=LARGE), track(project, "m2", 1, event=LARGE), track(project, "m2", 2)
        )
        wait_for_letters(project, 2)
        eventually(lambda: len(events(system, project)) == 1, "the small one")
    with with_limit(system, 64 * 1024).worker():
        assert retried(project) == {"retried": 2, "kept": 0, "superseded": 0}
        system.publish(track(project, "m3", 9))
        eventually(lambda: len(events(system, project)) == 3, "what comes behind them")
    assert events(system, project) == [("m1", START_MS + 5000), ("m2", START_MS + 2000), ("m3", START_MS + 9000)]
    assert system.count("events_stored WHERE project_id = {p:String} AND message_id = 'm2'", p=project) == 1
    assert listed(project) == []
    assert retried(project)["retried"] == 0


def test_letters_are_listed_newest_first_and_chosen_by_reason_and_time(
    system: System, project: str, worker: None
) -> None:
    system.publish(
        track(project, "m1", 1, anonymousId=None),
        track(project, "m2", 2, anonymousId=None),
        track(project, "m3", 3, event=7),
    )
    found = wait_for_letters(project, 3)
    assert [letter["message_id"] for letter in found] == ["m3", "m2", "m1"]
    assert [letter["message_id"] for letter in listed(project, "--limit", "1")] == ["m3"]
    assert [letter["message_id"] for letter in listed(project, "--reason", "missing_id")] == ["m2", "m1"]
    second = str(found[1]["rejected_at"])
    assert [letter["message_id"] for letter in listed(project, "--from", second)] == ["m3", "m2"]
    assert [letter["message_id"] for letter in listed(project, "--to", second)] == ["m1"]
    heading, first, *_ = run("list", "--project", project)[1].splitlines()
    assert heading.split() == ["ID", "REFUSED", "AT", "PROJECT", "REASON", "MESSAGE", "DETAIL"]
    assert first.startswith(str(found[0]["id"]))


def test_a_letter_is_shown_whole_with_its_bytes_as_they_were(system: System, project: str, worker: None) -> None:
    value = b'{"anonymousId": "\xff\x00\x1b[31m"}'
    record = replace(raw_call(value, project_id=project, message_id="m1"), key=f"{project}|a:\xe9".encode("latin-1"))
    system.publish(record)
    [letter] = wait_for_letters(project, 1)
    place = str(letter["id"])
    result = CliRunner().invoke(dead_letters, ("show", place, "--raw"))
    assert result.stdout_bytes == value
    code, out, _ = run("show", place)
    assert code == 0
    assert '{"anonymousId": "\\xff\\x00\\x1b[31m"}' in out
    assert "invalid_json" in out
    assert "header whipstitch" in out
    [whole] = [json.loads(line) for line in run("show", place, "--json")[1].splitlines()]
    assert whole["value_base64"] == "eyJhbm9ueW1vdXNJZCI6ICL/ABtbMzFtIn0="
    assert whole["headers"] == [{"name": "whipstitch", "value": record.headers[0][1].decode()}]
    assert set(whole) >= {"key_base64", "detail", "step", "received_at"}


def test_a_letter_that_is_refused_again_comes_back_with_its_new_place(
    system: System, project: str, worker: None
) -> None:
    system.publish(track(project, "m1", anonymousId=None))
    [first] = wait_for_letters(project, 1)
    assert retried(project)["retried"] == 1
    [second] = wait_for_letters(project, 1)
    assert first["id"] != second["id"]
    assert {**first, "id": None} == {**second, "id": None}


def test_what_the_store_refused_goes_back_to_the_topic_it_came_from(system: System, project: str, worker: None) -> None:
    odd = raw_call(
        b'{"type":"track","event":"E","anonymousId":"A","properties":{"n":1e999}}', project_id=project, message_id="m1"
    )
    system.publish(odd)
    [first] = wait_for_letters(project, 1)
    assert (first["step"], str(first["id"]).split(":")[0]) == ("sink", STITCHED)
    assert retried(project)["retried"] == 1
    [second] = wait_for_letters(project, 1)
    topic, partition, _ = str(second["id"]).split(":")
    assert (topic, partition) == (STITCHED, str(first["id"]).split(":")[1])
    assert second["id"] != first["id"]


def test_ties_refused_of_events_that_are_kept_are_not_tried_again(system: System, project: str, worker: None) -> None:
    system.publish(track(project, "m1", userId="null"))
    wait_for_letters(project, 1)
    eventually(lambda: len(events(system, project)) == 1, "the event is kept")
    assert retried(project) == {"retried": 0, "kept": 1, "superseded": 0}
    assert len(listed(project)) == 1
    assert "left: of step link, whose events are stored" in run("retry", "--project", project)[1]


def test_only_what_was_chosen_and_confirmed_is_dropped(system: System, project: str, worker: None) -> None:
    system.publish(*(track(project, f"m{n}", n, anonymousId=None) for n in range(4)), track(project, "x", event=7))
    wait_for_letters(project, 5)
    code, _, err = run("drop", "--project", project)
    assert code == 2
    assert "--yes" in err
    argv = ("drop", "--yes", "--project", project, "--reason", "missing_id", "--to", "2026-09-21T14:13:23Z")
    assert START_MS == 1_790_000_000_000, "that is 2026-09-21T14:13:20Z"
    assert run(*argv)[:2] == (0, "3 dropped\n")
    assert [letter["message_id"] for letter in listed(project)] == ["m3", "x"]
    assert json.loads(run("drop", "--yes", "--json", "--project", project)[1]) == {"dropped": 2}
    assert listed(project) == []


def step(project: str, user_id: str, message_id: str) -> TestRecord:
    """A record of `identity.persons`: only the last of its key counts."""
    said = PersonStep(project, user_id, START_MS / 1000, user_id, Standing.ALONE, message_id)
    return TestRecord(persons.encode(said), key=persons.step_key(project, user_id, said.since))


async def places(system: System, topic: str, key: bytes) -> list[Place]:
    async with scanner(system.settings) as scan:
        starts, ends = await scan.starts(topic), await scan.ends(topic)
        return [
            Place(topic, record.partition, record.offset)
            async for records in scan.read(topic, starts, ends)
            for record in records
            if record.key == key
        ]


def test_a_letter_of_a_compacted_topic_is_not_tried_where_a_later_record_has_its_key(
    system: System, project: str
) -> None:
    first, later, alone = (step(project, *ids) for ids in (("u", "m1"), ("u", "m2"), ("v", "m3")))
    system.publish(first, later, alone, topic=PERSONS)
    for record in (first, alone):
        place = asyncio.run(places(system, PERSONS, record.key or b""))[0]
        refused = dead_letter(
            replace(record, topic=PERSONS, partition=place.partition, offset=place.offset),
            Rejected("sink", Reason.STORE_REFUSED, "why"),
        )
        stored = row(TestRecord(refused[1], refused[3], refused[0], timestamp=refused[2]))
        columns = {**json.loads(stored), "project_id": project}
        system.store.insert("rejected_events_stored", [json.dumps(columns).encode()], str(uuid4()))
    assert retried(project) == {"retried": 1, "kept": 0, "superseded": 1}
    assert len(asyncio.run(places(system, PERSONS, first.key or b""))) == 2
    assert len(asyncio.run(places(system, PERSONS, alone.key or b""))) == 2
    assert len(listed(project)) == 1


@pytest.mark.parametrize(
    "argv",
    [
        ("list", "--reason", "because"),
        ("list", "--from", "yesterday"),
        ("list", "--limit", "0"),
        ("show", "events.raw:1"),
        ("show", "events.raw:1:0", "--raw", "--json"),
    ],
)
def test_wrong_usage_exits_2(argv: tuple[str, ...]) -> None:
    assert run(*argv)[0] == 2


def test_a_letter_that_is_not_there_is_told_with_what_to_do() -> None:
    code, _, err = run("show", f"{RAW}:0:999999999")
    assert code == 1
    assert "dead-letters list" in err
