"""`whipstitch forget` on real parts: a person goes from store and workers, for good, and nobody else."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from broker.control import load_directory
from cli.forget import forget
from pipeline.person import person_id
from pipeline.settings import as_environ
from tests.fixtures.system import System
from tests.identity.messages import Message, alias, identify, merge, record, reset, track, unmerge
from tests.integration.replaying import stored
from tests.records import START_MS
from tests.waiting import eventually
from topics.control import Forgotten, Project

KILLED = 9
KILL_AT_SECOND_MUTATION = """
import os, store.forget, itertools
mutate, count = store.forget.mutate, itertools.count()
store.forget.mutate = lambda *arguments: mutate(*arguments) if next(count) < 1 else os._exit(9)
"""
AT_ONCE = "import cli.forget; cli.forget.IN_FLIGHT_S = 0.0\n"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is under way in an ingress."""
    monkeypatch.setattr("cli.forget.IN_FLIGHT_S", 0.0)


@pytest.fixture
def project(system: System) -> str:
    """A project of the test's own."""
    name = f"{uuid4().hex[:8]}.p"
    system.set_project(Project(name, 0))
    return name


@pytest.fixture
def u1() -> str:
    """A user id that stands nowhere else."""
    return f"user-{uuid4().hex[:12]}"


def send(system: System, project: str, *messages: Message) -> None:
    """Messages as an ingress takes them; returns when they are stored, and what they say of who is who."""
    system.publish(*(record(message, project.removesuffix("p")) for message in messages))
    asyncio.run(stored(system))
    assert {message.id for message in messages} <= who(system, project).keys()


def who(system: System, project: str) -> dict[str, str | None]:
    sql = "SELECT message_id, resolved_user_id FROM events_resolved_v WHERE project_id = {p:String}"
    return {row["message_id"]: row["resolved_user_id"] for row in system.rows(sql, p=project)}


def run(system: System, *arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(forget, arguments, env=as_environ(system.settings))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def forgotten(system: System, project: str, id_: str, *options: str) -> dict[str, Any]:
    code, out, err = run(system, id_, "--project", project, "--yes", "--json", *options)
    assert code == 0, err
    told = json.loads(out)
    assert isinstance(told, dict)
    return told


def places(system: System, text: str) -> list[str]:
    """The tables of the store that have this text anywhere."""
    tables = system.rows("SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%Tree'")
    names = [*(row["name"] for row in tables), "system.mutations"]
    return [name for name in names if any(text in row for row in _lines(system, name))]


def _lines(system: System, table: str) -> Iterator[str]:
    yield from b"".join(system.store.stream(f"SELECT * FROM {table}", "JSONEachRow")).decode().splitlines()


def test_case_33_and_the_person_is_gone_from_every_table(system: System, project: str, u1: str) -> None:
    five = (
        *(track("e1", 1, "A"), identify("i2", 2, "A", u1), track("e3", 3, "A")),
        *(identify("i5", 5, "A", "U2"), track("e6", 6, "A")),
    )
    with system.worker():
        send(system, project, *five)
        told = forgotten(system, project, u1)
        assert (told["users"], told["anonymous_ids"], told["dry_run"]) == ([u1], ["A"], False)
        assert told["removed"] == {
            "events": 3,
            "identity_edges": 0,
            "identity_links": 1,
            "identity_persons": 0,
            "rejected_events": 0,
        }
        assert who(system, project) == {"i5": "U2", "e6": "U2"}
        assert places(system, u1) == []
    topics = {each["topic"]: each for each in told["kafka_keeps"]}
    assert topics["events.raw"]["until"] > told["forgotten_at"]
    assert topics["identity.merges"]["compacted"]


def test_workers_forget_too_over_a_restart_and_who_comes_back_is_a_new_person(
    system: System, project: str, u1: str
) -> None:
    with system.worker():
        send(system, project, identify("i1", 1, "A", u1), track("e2", 2, "A"))
        forgotten(system, project, u1)
        send(system, project, later(track("e3", 3, "A")))
    with system.worker():
        send(system, project, later(track("e4", 4, "A")))
        assert who(system, project) == {"e3": None, "e4": None}
        assert places(system, u1) == []
        send(system, project, later(identify("i5", 5, "A", u1)))
    assert who(system, project) == {"e3": u1, "e4": u1, "i5": u1}


def test_a_merged_person_goes_whole_and_comes_back_in_parts(system: System, project: str, u1: str) -> None:
    u2 = f"{u1}-too"
    with system.worker():
        send(
            system,
            project,
            *(identify("i1", 1, "A", u1), identify("i2", 2, "B", u2), track("e3", 3, "B"), alias("t4", 4, u1, u2)),
            *(merge("t5", 5, u1, "U3"), unmerge("t6", 6, "U3", u1), identify("i7", 7, "C", "U3")),
        )
        eventually(lambda: who(system, project)["i1"] == u2, "the two to be one")
        told = forgotten(system, project, u1)
        assert told["users"] == [u1, u2]
        assert told["removed"]["identity_edges"] == 3
        assert who(system, project) == {"i7": "U3"}
        assert places(system, u1) == []
        assert system.count("identity_persons_stored WHERE project_id = {p:String}", p=project) == 0
    with system.worker():
        send(system, project, later(identify("i8", 8, "A", u1)), later(identify("i9", 9, "B", u2)))
    assert who(system, project) == {"i7": "U3", "i8": u1, "i9": u2}


def test_an_anonymous_id_can_be_forgotten_and_other_projects_stay(system: System, project: str, u1: str) -> None:
    other = f"{uuid4().hex[:8]}.p"
    system.set_project(Project(other, 0))
    messages = track("e1", 1, u1), reset("x2", 2, u1), track("e3", 3, "B")
    with system.worker():
        send(system, project, *messages)
        send(system, other, *messages)
        told = forgotten(system, project, u1)
    assert told["person_ids"] == [str(person_id(project, None, u1))]
    assert who(system, project) == {"e3": None}
    assert who(system, other) == {"e1": None, "x2": None, "e3": None}


def test_all_that_is_kept_is_a_note_for_replays(system: System, project: str, u1: str) -> None:
    with system.worker():
        send(system, project, identify("i1", 1, "A", u1))
        forgotten(system, project, u1)
    notes = {note.person_id: note for note in _notes(system) if note.project_id == project}
    assert notes.keys() == {str(person_id(project, u1, None))}


def test_a_forget_that_was_killed_is_finished_by_the_same_command(system: System, project: str, u1: str) -> None:
    messages = identify("i1", 1, "A", u1), track("e2", 2, "A"), alias("t3", 3, f"{u1}-old", u1), track("o", 4, "O")
    command = f"from cli.forget import forget; forget([{u1!r}, '--project', {project!r}, '--yes'])"
    with system.worker():
        send(system, project, *messages)
        killed = subprocess.run(
            [sys.executable, "-c", AT_ONCE + KILL_AT_SECOND_MUTATION + command],
            env=as_environ(system.settings),
            cwd=system.folder,
            check=False,
        )
        assert killed.returncode == KILLED
        assert places(system, u1) != []
        forgotten(system, project, u1)
        assert who(system, project) == {"o": None}
        assert places(system, u1) == []


def test_counting_removes_nothing_and_needs_no_worker(system: System, project: str, u1: str) -> None:
    with system.worker():
        send(system, project, identify("i1", 1, "A", u1), track("e2", 2, "A"))
    told = forgotten(system, project, u1, "--dry-run")
    assert (told["dry_run"], told["removed"]["events"]) == (True, 2)
    assert who(system, project) == {"i1": u1, "e2": u1}
    assert not [note for note in _notes(system) if note.project_id == project]
    code, out, _ = run(system, u1, "--project", project, "--dry-run")
    assert (code, out.splitlines()[0]) == (0, f"would remove of {u1}:")


def test_where_no_worker_gets_on_nothing_is_removed(system: System, project: str, u1: str) -> None:
    with system.worker():
        send(system, project, identify("i1", 1, "A", u1))
    system.publish(record(track("e2", 2, "A"), project.removesuffix("p")))
    code, _, err = run(system, u1, "--project", project, "--yes", "--max-standstill-s", "1")
    assert code == 1
    assert "the workers stand still, 1 records behind" in err
    assert "nothing was removed" in err
    assert who(system, project) == {"i1": u1}
    with system.worker():
        eventually(lambda: "e2" in who(system, project), "the event that waited")


def test_who_is_unknown_is_told_so(system: System, project: str) -> None:
    with system.worker():
        code, out, err = run(system, "stranger", "--project", project, "--yes")
        assert (code, out) == (1, "")
        assert "nobody is known by the id 'stranger'" in err
    code, out, err = run(system, "stranger", "--project", "nowhere", "--yes")
    assert (code, out) == (1, "")
    assert "no project 'nowhere'" in err


def later(message: Message) -> Message:
    """The same message, received an hour from now."""
    return message.moved(time.time() - START_MS / 1000 + 3600)


def _notes(system: System) -> list[Forgotten]:
    return [*asyncio.run(load_directory(system.settings)).forgotten.values()]
