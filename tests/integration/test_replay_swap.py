"""`replay diff` and `replay swap` on real Kafka and a real store: a rule is changed, the range replayed, the difference
looked at, made live while events come in and the workers run, and taken back; killed at each point between."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from cli.forget import forget
from cli.replay import replay
from cli.replay_diff import diff
from cli.replay_swap import swap
from pipeline.settings import as_environ
from replay import state
from replay.exchange import Exchange
from replay.shadow import open_shadow
from replay.sides import sides_of
from replay.swap import exchange_tables
from tests.fixtures.system import System
from tests.integration import replaying
from tests.integration.killed_swap import swap_killed
from tests.records import START_MS, TestRecord, raw_call
from tests.waiting import eventually
from topics.control import Project

FROM_MS = START_MS - START_MS % 3_600_000
AT_MS = FROM_MS + 60_000
AFTER_MS = FROM_MS + 4_000_000
FROM, TO = "2026-09-21T14:00:00Z", "2026-09-21T15:00:00Z"
"""What a message says of who is who is different by this setting, and so are its facts."""
WRONG, RIGHT = {"implicit_links": False}, {"implicit_links": True}


@pytest.fixture
def project() -> str:
    return f"p{uuid4().hex[:8]}"


@pytest.fixture(autouse=True)
def environment(system: System, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in as_environ(system.settings).items():
        monkeypatch.setenv(name, value)
    yield
    for each in state.replay_ids(system.store, system.settings.store):
        CliRunner().invoke(replay, ["abort", each])


def run(*argv: str) -> Result:
    command = {"diff": diff, "swap": swap}.get(argv[0])
    result = CliRunner().invoke(command or replay, argv[1:] if command else argv)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def ran(*argv: str) -> str:
    result = run(*argv)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def call(project: str, message_id: str, at_ms: int, **fields: object) -> TestRecord:
    body = {"type": "track", "event": "E", "messageId": message_id, **fields}
    return raw_call(body, project_id=project, at_ms=at_ms, key_kind="secret")


def history(project: str) -> list[TestRecord]:
    """Anonymous events, one with both ids, two users that are tied, and what was refused; then later ones."""
    return [
        call(project, "a1", AT_MS, anonymousId="A"),
        call(project, "both", AT_MS + 1, anonymousId="A", userId="U"),
        call(project, "a2", AT_MS + 2, anonymousId="A"),
        call(project, "odd", AT_MS + 3, anonymousId="A", type="track", event=""),
        call(project, "later", AFTER_MS, anonymousId="A"),
    ]


@contextmanager
def lived(system: System, project: str) -> Iterator[None]:
    """The history as a worker stored it under the wrong setting, which is put right since; a worker runs."""
    system.set_project(Project(project, 0, **WRONG))  # type: ignore[arg-type]
    with system.worker():
        system.publish(*history(project))
        stored(system)
        system.set_project(Project(project, 0, **RIGHT))  # type: ignore[arg-type]
        yield


def stored(system: System) -> None:
    """Wait until the workers have done all there is."""
    asyncio.run(replaying.stored(system))


def started(project: str) -> str:
    answer = json.loads(ran("start", "--from", FROM, "--to", TO, "--project", project, "--json"))
    return str(answer["replay"])


def resolved(system: System, project: str) -> dict[str, str | None]:
    sql = "SELECT message_id, resolved_user_id FROM events_resolved_v WHERE project_id = {p:String} ORDER BY ALL"
    rows = system.rows(sql, p=project)
    assert len({row["message_id"] for row in rows}) == len(rows)
    return {row["message_id"]: row["resolved_user_id"] for row in rows}


def links(system: System, project: str) -> list[str]:
    rows = system.rows("SELECT message_id FROM identity_links WHERE project_id = {p:String} ORDER BY ALL", p=project)
    return [row["message_id"] for row in rows]


def test_diff_of_unchanged_code_is_empty(system: System, project: str) -> None:
    system.set_project(Project(project, 0))
    with system.worker():
        system.publish(*history(project))
        stored(system)
    started(project)
    assert json.loads(ran("diff", "--json"))["is_empty"]
    assert ran("diff").endswith("no difference\n")


def test_changed_rule_shows_exactly_its_rows_and_swap_makes_them_live_and_back_again(
    system: System, project: str, tmp_path: Path
) -> None:
    with lived(system, project):
        before = resolved(system, project)
        assert before == {"a1": None, "a2": None, "both": "U", "later": None}
        started(project)
        answer = json.loads(ran("diff", "--json", "--html", str(tmp_path / "diff.html")))["report"]
        assert answer["columns"] == [{"project_id": project, "name": "E", "column": "stitched_user_id", "rows": 1}]
        assert [each["message_id"] for each in answer["samples"]] == ["a2"]
        assert answer["totals"]["events"] | {"changed": 0} == {
            "project_id": "", "name": "", "new": 0, "gone": 0, "changed": 0
        }  # fmt: skip
        assert answer["links"] == [{"project_id": project, "name": "implicit", "new": 1, "gone": 0, "changed": 0}]
        assert (answer["persons"]["persons"], answer["persons"]["events"]) == (2, 3)
        assert resolved(system, project) == before
        page = (tmp_path / "diff.html").read_text()
        assert "stitched_user_id" in page
        assert "<script" not in page
        ran("swap", "--keep")
        assert resolved(system, project) == dict.fromkeys(("a1", "a2", "both", "later"), "U")
        assert links(system, project) == ["both"]
        ran("swap", "--back")
        assert resolved(system, project) == before
        assert links(system, project) == []
        assert json.loads(ran("diff", "--json"))["report"] == answer
        ran("swap")
        assert resolved(system, project) == dict.fromkeys(("a1", "a2", "both", "later"), "U")
        assert state.replay_ids(system.store, system.settings.store) == []


def test_swap_while_events_come_in_loses_none_and_shows_none_twice(system: System, project: str) -> None:
    with lived(system, project):
        with publishing(system, project) as published:
            started(project)
            eventually(lambda: len(published) > 5, "events that come in")
            ran("swap", "--keep")
            seen = len(published)
            eventually(lambda: len(published) > seen, "events that go on coming in")
            ran("swap", "--back")
        stored(system)
        assert resolved(system, project).keys() == {"a1", "a2", "both", "later", *published}


@contextmanager
def publishing(system: System, project: str) -> Iterator[list[str]]:
    """Somebody who goes on publishing, and notes what was acknowledged."""
    published: list[str] = []
    ended = threading.Event()

    def publish() -> None:
        for n in count():
            if ended.is_set():
                return
            system.publish(*(call(project, f"n{n}-{each}", AFTER_MS + n, anonymousId="A") for each in range(3)))
            published.extend(f"n{n}-{each}" for each in range(3))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield published
    finally:
        ended.set()
        thread.join()


def test_tie_that_the_replay_no_longer_has_is_taken_from_the_merge_agent(system: System, project: str) -> None:
    tied = call(project, "tie", AT_MS, type="alias", event=None, userId="U2", previousId="U1")
    public = raw_call(json.loads(tied.value or b""), project_id=project, at_ms=AT_MS, key_kind="public")
    system.set_project(Project(project, 0, public_user_edges=True))
    with system.worker():
        system.publish(public, call(project, "u1", AT_MS, userId="U1"), call(project, "u2", AT_MS, userId="U2"))
        stored(system)
        eventually(lambda: resolved(system, project)["u1"] == "U2", "users that are one person")
        system.set_project(Project(project, 0, public_user_edges=False))
        started(project)
        ran("swap")
        assert resolved(system, project)["u1"] == "U1"
        system.publish(call(project, "tie2", AFTER_MS, type="alias", event=None, userId="U3", previousId="U2"))
        eventually(lambda: resolved(system, project)["u2"] == "U3", "users that are one person")
        assert resolved(system, project)["u1"] == "U1"


def stitched(system: System, project: str, message_id: str) -> list[str | None]:
    """What was known of the event when it was taken; nothing before it is stored."""
    sql = "SELECT stitched_user_id FROM events WHERE project_id = {p:String} AND message_id = {m:String}"
    return [row["stitched_user_id"] for row in system.rows(sql, p=project, m=message_id)]


def test_what_comes_after_a_swap_is_attributed_by_the_facts_that_hold_then(system: System, project: str) -> None:
    with lived(system, project):
        system.publish(call(project, "before", AFTER_MS + 1, anonymousId="A"))
        eventually(lambda: stitched(system, project, "before") == [None], "an event of nobody")
        started(project)
        ran("swap", "--keep")
        system.publish(call(project, "after", AFTER_MS + 2, anonymousId="A"))
        eventually(lambda: stitched(system, project, "after") == ["U"], "an event of the user")
        ran("swap", "--back")
        system.publish(call(project, "back", AFTER_MS + 3, anonymousId="A"))
        eventually(lambda: stitched(system, project, "back") == [None], "an event of nobody again")


def test_event_put_back_into_the_range_after_the_replay_is_taken_in_before_the_swap(
    system: System, project: str
) -> None:
    with lived(system, project):
        started(project)
        system.publish(call(project, "put back", AT_MS + 4, anonymousId="A"))
        ran("swap")
        assert resolved(system, project)["put back"] == "U"


@pytest.mark.long
def test_replay_that_was_filled_before_another_was_swapped_is_refused(system: System, project: str) -> None:
    with lived(system, project):
        other, of_other = f"{project}-2", ("start", "--from", FROM, "--to", TO, "--project", f"{project}-2", "--json")
        system.set_project(Project(other, 0))
        system.publish(call(other, "other", AT_MS, anonymousId="A"))
        stored(system)
        first, second = started(project), str(json.loads(ran(*of_other))["replay"])
        ran("swap", first)
        refused = run("swap", second)
        assert refused.exit_code == 1
        assert "another replay was swapped" in refused.stderr
        assert resolved(system, project)["a1"] == "U"


def test_abort_is_refused_while_a_swap_is_half_done(system: System, project: str) -> None:
    with lived(system, project):
        replay_id = started(project)
        swap_killed("exchanged")
        assert run("abort").exit_code == 1
        assert state.replay_ids(system.store, system.settings.store) == [replay_id]
        ran("swap")


def test_who_is_forgotten_between_the_last_look_and_the_exchange_does_not_come_back(
    system: System, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgotten_first(exchange: Exchange) -> None:
        with ThreadPoolExecutor(1) as other:
            done = other.submit(CliRunner().invoke, forget, ["U", "--project", project, "--yes"]).result()
        assert done.exit_code == 0, done.output
        exchange_tables(exchange)

    monkeypatch.setattr("replay.swap.exchange_tables", forgotten_first)
    with lived(system, project):
        system.publish(call(project, "another", AT_MS, anonymousId="B"))
        started(project)
        ran("swap")
        assert resolved(system, project) == {"another": None}


@pytest.mark.parametrize("point", [pytest.param("noted", marks=pytest.mark.long), "mirrored"])
def test_swap_that_has_exchanged_nothing_yet_can_be_aborted(system: System, project: str, point: str) -> None:
    with lived(system, project):
        before = resolved(system, project)
        started(project)
        swap_killed(point)
        ran("abort")
        views = "SELECT name FROM system.tables WHERE engine = 'MaterializedView' AND database = currentDatabase()"
        assert (system.rows(views), state.replay_ids(system.store, system.settings.store)) == ([], [])
        system.publish(call(project, "goes on", AFTER_MS, anonymousId="A"))
        eventually(lambda: "goes on" in resolved(system, project), "an event that is stored")
        assert before.items() <= resolved(system, project).items()


def test_swap_without_a_worker_is_refused_and_nothing_is_changed(system: System, project: str) -> None:
    with lived(system, project):
        started(project)
    system.publish(call(project, "waits", AFTER_MS, anonymousId="A"))
    before = state.replays(system.store, system.settings.store)
    refused = run("swap", "--max-standstill-s", "1")
    assert refused.exit_code == 1
    assert "the workers stand still" in refused.stderr
    assert state.replays(system.store, system.settings.store) == before
    assert set(resolved(system, project).values()) == {None, "U"}


@pytest.mark.long
def test_swap_of_a_replay_under_another_policy_asks_for_the_policy_first(system: System, project: str) -> None:
    with lived(system, project):
        ran("start", "--from", FROM, "--to", TO, "--project", project, "--policy", "last_wins")
        refused = run("swap")
        assert refused.exit_code == 1
        assert f"whipstitch projects set {project} --policy last_wins" in refused.stderr
        system.set_project(Project(project, 0, policy="last_wins"))
        ran("swap")


@pytest.mark.long
def test_back_without_a_swap_and_a_swap_of_what_is_swapped_are_refused(system: System, project: str) -> None:
    with lived(system, project):
        replay_id = started(project)
        assert "there is nothing to take back" in run("swap", "--back").stderr
        ran("swap", "--keep")
        assert "--back" in run("swap").stderr
        assert "what it changed is live" in run("diff").stderr
        shadow = open_shadow(system.settings.store, replay_id)
        assert state.read(shadow).status == "swapped"
        shadow.close()
    assert sides_of(system.settings.store, state.replays(system.store, system.settings.store)[0]).project_id == project
