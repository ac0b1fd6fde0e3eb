"""`replay start|status|abort` and `export` on real Kafka and a real store: a replay comes to what live came to,
whatever the workers and wherever it was killed, and leaves nothing behind."""

import asyncio
import os
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from click.testing import CliRunner

from broker.scan import scanner
from cli.dead_letters import dead_letters
from cli.export import export
from cli.forget import forget
from pipeline.settings import as_environ
from replay import plan, shadow, state
from replay.export_line import line_of
from replay.folder import folder_of
from replay.run import abort
from replay.state import Replay
from tests.fixtures.system import System, running_system
from tests.integration.replaying import (
    FROM,
    FROM_MS,
    HOUR_MS,
    IN_VIEWS,
    TO,
    begun,
    bytes_of,
    call,
    differing,
    history,
    killed,
    replayed,
    run,
    seen,
    start,
    stored,
    succeeds,
    traces,
)
from tests.retention import take_away
from tests.waiting import eventually
from topics.control import Project
from topics.names import RAW

EVERY_S = 0.2
IN_RANGE = range(FROM_MS, FROM_MS + 2 * HOUR_MS)


@pytest.fixture(autouse=True)
def environment(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in as_environ(system.settings).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def worker(system: System) -> Iterator[None]:
    with system.worker():
        yield


@pytest.fixture(autouse=True)
def no_replay_is_left(system: System) -> Iterator[None]:
    yield
    for replay_id in state.replay_ids(system.store, system.settings.store):
        abort(system.settings, system.store, replay_id)


@pytest.fixture(scope="module")
def project(system: System, worker: None) -> str:
    """A project whose history is stored."""
    project = f"p{uuid4().hex[:8]}"
    system.set_project(Project(project, 0))
    system.publish(*history(project))
    asyncio.run(stored(system))
    persons = "identity_persons WHERE project_id = {p:String}"
    eventually(lambda: system.count(persons, p=project) == 5, "five persons", poll_s=0.1)
    return project


def test_unchanged_code_comes_to_what_live_came_to(system: System, project: str) -> None:
    done = start("--project", project)
    live, own = seen(system.store, project), replayed(system, done, project)
    assert [differing(view, live, own) for view in IN_VIEWS] == [[] for _ in IN_VIEWS]
    assert done["missing"] == 0


def test_workers_and_a_kill_change_nothing(system: System, project: str) -> None:
    at_once = replayed(system, start("--project", project), project)
    assert run("abort").exit_code == 0
    begun = killed(system, "--project", project, "--workers", "2", "--share", "1")
    tear_a_journal(system, begun)
    assert run("status").stdout.count("repeat the command that began it to go on") == 1
    second = start("--project", project, "--workers", "3")
    assert second["replay"] == begun.id
    assert replayed(system, second, project) == at_once


@pytest.mark.parametrize(
    ("settings", "argv"),
    [
        ({}, ()),
        pytest.param({"WHIPSTITCH_SINK_MAX_ROWS": "3"}, ("--workers", "4"), marks=pytest.mark.long),
        pytest.param({"WHIPSTITCH_SINK_MAX_BYTES": "1024"}, ("--workers", "2"), marks=pytest.mark.long),
    ],
)
def test_same_range_comes_to_the_same_bytes_again_also_while_live_goes_on(
    system: System,
    project: str,
    first_bytes: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    argv: tuple[str, ...],
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with live_going_on(system, project):
        again = start("--project", project, *argv)
    assert bytes_of(system, again["replay"], project) == first_bytes


@pytest.fixture(scope="module")
def first_bytes(system: System, project: str) -> dict[str, list[str]]:
    with pytest.MonkeyPatch.context() as environ:
        for name, value in as_environ(system.settings).items():
            environ.setenv(name, value)
        done = start("--project", project)
        found = bytes_of(system, done["replay"], project)
        assert run("abort").exit_code == 0
    assert len(found["events_stored"]) > 200
    assert all(found.values()), "each table has some"
    return found


@contextmanager
def live_going_on(system: System, project: str) -> Iterator[None]:
    """Others send events all the while."""
    others, ended, numbers = f"{project}-others", threading.Event(), count()

    def publish() -> None:
        while not ended.wait(EVERY_S):
            system.publish(*(call(others, f"n{next(numbers)}", FROM_MS + n) for n in range(20)))

    with ThreadPoolExecutor(1) as thread:
        publishing = thread.submit(publish)
        try:
            yield
        finally:
            ended.set()
    publishing.result()
    assert next(numbers) > 0


@pytest.mark.long
def test_partition_count_changes_nothing(
    system: System, worker: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_system(tmp_path, partitions=7) as other:
        found = []
        for each in (system, other):
            for name, value in as_environ(each.settings).items():
                monkeypatch.setenv(name, value)
            each.set_project(Project("same", 0))
            each.publish(*(record for record in history("same")[:-1] if record.timestamp in IN_RANGE))
            if each is system:
                asyncio.run(stored(system))
            found.append(bytes_of(each, start("--project", "same")["replay"], "same"))
    assert len(found[0]["events_stored"]) > 100
    assert found[0] == found[1]


def test_abort_leaves_nothing_of_a_replay_done_or_begun(system: System, project: str) -> None:
    before = traces(system)
    start("--project", project)
    assert traces(system) != before
    assert run("abort").exit_code == 0
    assert traces(system) == before
    killed(system, "--project", project, "--share", "1")
    assert run("abort").exit_code == 0
    assert traces(system) == before


def test_dry_run_counts_what_a_replay_comes_to_and_leaves_nothing(system: System, project: str) -> None:
    before = traces(system)
    counted = start("--project", project, "--dry-run")
    assert traces(system) == before
    done = start("--project", project)
    assert done["events"] == int(str(counted["events"])) + 1, "and the straggler, which only what live has can tell"
    same = ("links", "edges", "rejected", "duplicates")
    assert {name: done[name] for name in same} == {name: counted[name] for name in same}


def test_settings_can_be_others_for_one_replay(system: System, project: str) -> None:
    done = start("--project", project, "--dedupe-window", "60", "--no-implicit-links", "--policy", "last_wins")
    assert done["duplicates"] == 0
    with closing(shadow.open_shadow(system.settings.store, str(done["replay"]))) as own:
        in_range = "received_at >= {f:DateTime64(3, 'UTC')} AND received_at < {t:DateTime64(3, 'UTC')}"
        given = {"f": shadow.instant(FROM_MS), "t": shadow.instant(FROM_MS + 2 * HOUR_MS), "p": project}
        of = f"WHERE project_id = {{p:String}} AND {in_range}"
        assert own.query(f"SELECT DISTINCT kind FROM identity_links {of}", given) == [{"kind": "exact"}]
        settings = "SELECT policy FROM projects_stored FINAL WHERE project_id = {p:String}"
        assert own.query(settings, given) == [{"policy": "last_wins"}]
        assert system.rows(settings, **given) == [{"policy": "interval"}]


def test_export_is_as_good_as_the_topic(system: System, project: str, tmp_path: Path) -> None:
    files = [tmp_path / "first.ndjson.zst", tmp_path / "second.ndjson"]
    middle = "2026-09-21T16:00:00Z"
    for path, since, until in zip(files, (FROM, middle), (middle, TO), strict=True):
        argv = ("--from", since, "--to", until, "--project", project, "--output", str(path))
        assert CliRunner().invoke(export, argv).exit_code == 0
    with files[1].open("ab") as file:
        file.write(line_of(history(project)[-1]) + b"\n")  # of a time that is none of the records around it
    done = start("--project", project, *(option for path in files for option in ("--source", str(path))))
    live, own = seen(system.store, project), replayed(system, done, project)
    without_place = [{k: v for k, v in row.items() if k != "source_offset"} for row in live["rejected_events"]]
    assert [{k: v for k, v in row.items() if k != "source_offset"} for row in own["rejected_events"]] == without_place
    assert [differing(view, live, own) for view in IN_VIEWS if view != "rejected_events"] == [[]] * 6
    assert done["missing"] == 0


def test_who_was_forgotten_and_what_was_dropped_does_not_come_back(system: System, worker: None) -> None:
    project = f"p{uuid4().hex[:8]}"
    system.set_project(Project(project, 0))
    identify: dict[str, object] = {"type": "identify"}
    system.publish(
        call(project, "m1", FROM_MS, anonymousId="A"),
        call(project, "m2", FROM_MS + 1, **identify, anonymousId="A", userId="ann"),
        call(project, "m3", FROM_MS + 2, **identify, anonymousId="A", userId="bob"),
        call(project, "m4", FROM_MS + 3, anonymousId="A"),
        call(project, "m5", FROM_MS + 4, type="alias", anonymousId=None, userId="ann", previousId="ann-before"),
        call(project, "m6", FROM_MS + 5, **identify, anonymousId="C", userId="ann-before"),
        call(project, "m7", FROM_MS + 6, anonymousId=None),
    )
    asyncio.run(stored(system))
    persons = "identity_persons WHERE project_id = {p:String}"
    eventually(lambda: system.count(persons, p=project) == 2, "ann and ann-before as one", poll_s=0.1)
    succeeds(forget, "ann", "--project", project, "--yes")
    succeeds(dead_letters, "drop", "--project", project, "--yes")
    done = start("--project", project)
    live, own = seen(system.store, project), replayed(system, done, project)
    assert {str(row["message_id"]) for row in own["events"]} == {"m3", "m4"}
    assert [differing(view, live, own) for view in IN_VIEWS] == [[] for _ in IN_VIEWS]


@pytest.mark.long
def test_killed_worker_is_told_and_the_rest_is_done_by_a_repeat(system: System, project: str) -> None:
    at_once = replayed(system, start("--project", project), project)
    assert run("abort").exit_code == 0
    process = begun(system, "--project", project, "--share", "1")
    [worker] = [each for each in psutil.Process(process.pid).children() if "spawn_main" in " ".join(each.cmdline())]
    worker.kill()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"a worker ended with code -9; what is done is kept: repeat the command to go on" in said
    assert replayed(system, start("--project", project), project) == at_once


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--from", TO, "--to", FROM), "must be after --from"),
        (("--from", FROM, "--to", "2036-01-01"), "is still to come"),
        (("--from", "2020-01-01", "--to", "2020-01-02"), "holds nothing of"),
        (("--from", FROM, "--to", TO, "--source", __file__), "line 1: not a line of `whipstitch export`"),
    ],
)
def test_what_cannot_be_replayed_is_refused_and_nothing_is_changed(
    system: System, project: str, argv: tuple[str, ...], says: str
) -> None:
    before = traces(system)
    refused = run("start", "--project", project, *argv)
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert says in refused.stderr
    assert traces(system) == before


def test_second_replay_of_a_project_is_refused(system: System, project: str) -> None:
    start("--project", project)
    before = traces(system)
    for argv in ((), ("--project", project), ("--project", project, "--policy", "isolate")):
        refused = run("start", "--from", FROM, "--to", TO, *argv)
        assert refused.exit_code == 1
        assert "`whipstitch replay abort`" in refused.stderr
    assert traces(system) == before


def test_replay_at_work_is_told_of_in_another_shell_and_is_not_begun_or_removed_there(
    system: System, project: str
) -> None:
    process = begun(system, "--project", project, "--share", "1")
    assert re.search(r", running: .*\n  [\d,]+ of [\d,]+ records read, [\d,]+/s, .* left\n", run("status").stdout)
    for argv in (("start", "--from", FROM, "--to", TO, "--project", project), ("abort",)):
        refused = run(*argv)
        assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
        assert f"running already, as process {process.pid}; stop that first" in refused.stderr
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_store_without_room_is_told_before_anything_is_made(
    system: System, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = traces(system)
    monkeypatch.setattr(plan, "_ROOM", 1e15)
    refused = run("start", "--from", FROM, "--to", TO)
    assert refused.exit_code == 1
    assert "free some disk space" in refused.stderr
    assert traces(system) == before


def test_range_before_which_live_has_not_come_is_refused_until_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes in the range is attributed by what came before it, which is read from the store."""
    with running_system(tmp_path) as behind:
        for name, value in as_environ(behind.settings).items():
            monkeypatch.setenv(name, value)
        behind.publish(
            call("p", "tie", FROM_MS - HOUR_MS, type="identify", userId="U"),
            call("p", "first", FROM_MS - HOUR_MS + 1),
            call("p", "in range", FROM_MS),
        )
        before = traces(behind)
        refused = run("start", "--from", FROM, "--to", TO, "--project", "p")
        assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
        assert "2 records from before 2026-09-21T15:00:00Z are not stored yet" in refused.stderr
        assert traces(behind) == before
        with behind.worker():
            asyncio.run(stored(behind))
        done = start("--project", "p")
        with closing(shadow.open_shadow(behind.settings.store, str(done["replay"]))) as own:
            sql = "SELECT stitched_user_id AS user FROM events WHERE message_id = 'in range'"
            assert own.query(sql) == [{"user": "U"}]


def test_range_that_retention_has_taken_is_refused(system: System, project: str) -> None:
    asyncio.run(take_all_but_the_last(system))
    before = traces(system)
    refused = run("start", "--from", FROM, "--to", TO, "--project", project)
    assert refused.exit_code == 1
    assert "reaches back to" in refused.stderr
    assert traces(system) == before


async def take_all_but_the_last(system: System) -> None:
    async with scanner(system.settings) as scan:
        ends = await scan.ends(RAW)
    await take_away(system.settings, RAW, {p: end - 1 for p, end in ends.items() if end})


def tear_a_journal(system: System, replay: Replay) -> None:
    """As a kill does between storing rows and noting it."""
    journal = max(folder_of(system.settings, replay.id).glob("*.journal"), key=lambda path: path.stat().st_size)
    with journal.open("r+b") as file:
        file.truncate(journal.stat().st_size - 7)
