"""`replay start|status|abort` and `export` on real Kafka and a real store: a replay comes to what live came to,
whatever the workers and wherever it was killed, and leaves nothing behind."""

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import click
import psutil
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from click.testing import CliRunner, Result

from broker.connection import client_options
from broker.scan import scanner
from broker.worker_progress import WorkerProgress
from cli.dead_letters import dead_letters
from cli.export import export
from cli.forget import forget
from cli.replay import replay
from pipeline.settings import as_environ
from replay import plan, shadow, state
from replay.export_line import line_of
from replay.folder import folder_of
from replay.run import abort
from replay.state import Replay, Status
from store.client import Row, Store
from tests.fixtures.system import System
from tests.records import START_MS, TestRecord, raw_call
from tests.waiting import eventually
from topics.control import Project
from topics.keys import anonymous_key
from topics.names import LINKS, MERGES, PERSONS, RAW, REJECTED, STITCHED

ROOT = Path(__file__).parents[2]
HOUR_MS = 3_600_000
FROM_MS = START_MS - START_MS % HOUR_MS + HOUR_MS
FROM, TO = "2026-09-21T15:00:00Z", "2026-09-21T17:00:00Z"
IN_VIEWS = {
    "events": "message_id, event_name, anonymous_id, user_id, stitched_user_id, timestamp, received_at, "
    "toJSONString(properties) AS properties, raw",
    "identity_links": "message_id, anonymous_id, user_id, kind, received_at",
    "identity_edges": "kind, from_user_id, to_user_id, state",
    "identity_persons": "user_id, canonical_user_id, standing, since",
    "rejected_events": "message_id, reason, detail, step, raw, source_topic, source_partition, source_offset",
    "events_resolved_v": "message_id, resolved_user_id, person_id",
    "events_stored": "DISTINCT message_id, received_at",
}


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


def run(*argv: str) -> Result:
    result = CliRunner().invoke(replay, argv)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def start(*argv: str) -> dict[str, object]:
    result = run("start", "--from", FROM, "--to", TO, "--json", *argv)
    assert result.exit_code == 0, result.stderr
    answer: dict[str, object] = json.loads(result.stdout)
    return answer


def call(project: str, message_id: str, at_ms: int, **fields: object) -> TestRecord:
    body = {"type": "track", "event": "E", "anonymousId": "A", "messageId": message_id, **fields}
    return raw_call(body, project_id=project, at_ms=at_ms, key_kind="secret")


def history(project: str) -> list[TestRecord]:
    """Some hours of a project: before the range, in it, and after it."""
    records = []
    for n in range(240):
        at_ms = FROM_MS - HOUR_MS + n * 60_000
        fields: dict[str, object] = {"anonymousId": f"A{n % 7}", "properties": {"n": n}}
        match n % 12:
            case 3:
                fields |= {"type": "identify", "userId": f"u{n % 5}", "traits": {"plan": n}}
            case 5:
                fields |= {"messageId": f"m{n - 4}", "anonymousId": f"A{(n - 4) % 7}"}
            case 7:
                fields |= {"anonymousId": None}
            case 9:
                fields |= {"type": "alias", "userId": f"u{n % 5}", "previousId": f"u{(n + 1) % 5}"}
            case 11:
                fields |= {"properties": {"n": n, "odd": "\u2603"}}
        records.append(call(project, str(fields.pop("messageId", f"m{n}")), at_ms, **fields))
    before, after = FROM_MS - 30_000, FROM_MS + 30_000
    all_ids: list[dict[str, object]] = [
        {"anonymousId": "A6"},
        {"anonymousId": None, "userId": "u1"},
        {"userId": "null"},
    ]
    for n, ids in enumerate(all_ids):
        records += [call(project, f"repeat{n}", at_ms, **ids) for at_ms in (before, after)]
    records.sort(key=lambda record: record.timestamp)
    odd = b'{"type":"track","event":"E","anonymousId":"A1","properties":{"n":1e999}}'
    late = raw_call(odd, project_id=project, at_ms=FROM_MS + 5, message_id="odd")
    return [*records, dataclasses.replace(late, key=anonymous_key(project, "A1"))]


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


async def stored(system: System) -> None:
    """Wait until the workers have done all there is, topic by topic on the way of an event."""
    progress = WorkerProgress(system.settings)
    await progress.start()
    try:
        for topics in ([RAW], [STITCHED, LINKS, MERGES, REJECTED], [PERSONS]):
            await progress.wait(await progress.ends(topics), 30.0, lambda left: None)
    finally:
        await progress.stop()


def seen(store: Store, project: str) -> dict[str, Sequence[Row]]:
    return {
        view: store.query(f"SELECT {columns} FROM {view} WHERE project_id = {{p:String}} ORDER BY ALL", {"p": project})
        for view, columns in IN_VIEWS.items()
    }


def differing(view: str, one: dict[str, Sequence[Row]], other: dict[str, Sequence[Row]]) -> list[tuple[object, ...]]:
    """The cells that differ, row by row, or the numbers of rows where those do."""
    if len(one[view]) != len(other[view]):
        return [(view, len(one[view]), len(other[view]))]
    return [
        (view, this.get("message_id", n), name, this[name], that[name])
        for n, (this, that) in enumerate(zip(one[view], other[view], strict=True))
        for name in this
        if this[name] != that[name]
    ]


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


def succeeds(command: click.Command, *argv: str) -> None:
    result = CliRunner().invoke(command, argv)
    assert result.exit_code == 0, result.output


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


def test_store_without_room_is_told_before_anything_is_made(
    system: System, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = traces(system)
    monkeypatch.setattr(plan, "_ROOM", 1e15)
    refused = run("start", "--from", FROM, "--to", TO)
    assert refused.exit_code == 1
    assert "free some disk space" in refused.stderr
    assert traces(system) == before


def test_range_that_retention_has_taken_is_refused(system: System, project: str) -> None:
    asyncio.run(take_all_but_the_last(system))
    before = traces(system)
    refused = run("start", "--from", FROM, "--to", TO, "--project", project)
    assert refused.exit_code == 1
    assert "reaches back to" in refused.stderr
    assert traces(system) == before


async def take_all_but_the_last(system: System) -> None:
    """As retention does."""
    async with scanner(system.settings) as scan:
        ends = await scan.ends(RAW)
    admin = AIOKafkaAdminClient(**client_options(system.settings))
    await admin.start()
    gone = {TopicPartition(RAW, p): RecordsToDelete(before_offset=end - 1) for p, end in ends.items() if end}
    await admin.delete_records(gone)
    await admin.close()


def traces(system: System) -> dict[str, object]:
    """Names of all that a replay could leave somewhere."""
    return {
        "tables": system.rows("SELECT database, name FROM system.tables WHERE database != 'system' ORDER BY ALL"),
        "databases": system.rows("SELECT name FROM system.databases ORDER BY name"),
        "folders": sorted(str(path) for path in system.settings.data.iterdir()),
        "kafka": asyncio.run(names_in_kafka(system)),
    }


async def names_in_kafka(system: System) -> list[str]:
    admin = AIOKafkaAdminClient(**client_options(system.settings))
    await admin.start()
    groups, topics = await admin.list_consumer_groups(), await admin.list_topics()
    await admin.close()
    return sorted([*topics, *(group[0] for group in groups)])


def replayed(system: System, done: dict[str, object], project: str) -> dict[str, Sequence[Row]]:
    with closing(shadow.open_shadow(system.settings.store, str(done["replay"]))) as own:
        return seen(own, project)


def killed(system: System, *argv: str) -> Replay:
    """Begin a replay, and kill it with its workers once some of it is done."""
    process = begun(system, *argv)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    found = begun_by(system)
    assert found is not None
    return found


def begun(system: System, *argv: str) -> subprocess.Popen[bytes]:
    """A replay as a process group of its own that has done some of its work."""
    command = f"from cli.replay import replay; replay({['start', '--from', FROM, '--to', TO, *argv]!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", command], cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE
    )
    eventually(lambda: begun_by(system) is not None or process.poll() is not None, "some done", poll_s=0.02)
    assert process.poll() is None, "it was done already"
    return process


def begun_by(system: System) -> Replay | None:
    """The replay there is, once it has done something."""
    there = [each for each in state.replays(system.store, system.settings.store) if each.status is Status.RUNNING]
    for each in there:
        with closing(shadow.open_shadow(system.settings.store, each.id)) as own:
            if state.totals(state.read_progress(own))["events"]:
                return each
    return None


def tear_a_journal(system: System, replay: Replay) -> None:
    """As a kill does between storing rows and noting it."""
    journal = max(folder_of(system.settings, replay.id).glob("*.journal"), key=lambda path: path.stat().st_size)
    with journal.open("r+b") as file:
        file.truncate(journal.stat().st_size - 7)
