"""`audit` on real Kafka, a real store and a running worker: it finds what is lost, added or doubled by hand, and says
nothing of what is in order."""

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
from click.testing import CliRunner

from broker.scan import scanner
from cli.audit import audit
from cli.dead_letters import dead_letters
from pipeline.person import person_id
from pipeline.settings import as_environ
from tests.fixtures.system import System
from tests.pausing import paused
from tests.records import START_MS, TestRecord, raw_call
from tests.retention import take_away
from tests.rows import event_row, insert
from tests.waiting import eventually
from topics.control import Forgotten
from topics.keys import partition_of
from topics.names import RAW, REJECTED, STITCHED, WORKER_GROUP
from topics.orders import Forget, order_record

HOUR_MS = 3_600_000
FIRST_HOUR_MS = START_MS - START_MS % HOUR_MS + HOUR_MS
FIRST_HOUR = "2026-09-21T15:00:00Z"
NOT_SHOWN = ("ok", "project", "hour", "missing_ids", "unexpected_ids", "doubled_ids")

Workers = Iterator[subprocess.Popen[bytes]]


@pytest.fixture
def project() -> str:
    return f"p{uuid4().hex[:8]}"


@pytest.fixture(autouse=True)
def environment(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in as_environ(system.settings).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def worker(system: System) -> Workers:
    with system.worker() as running:
        yield running


def track(project: str, message_id: str, at_ms: int = FIRST_HOUR_MS, **fields: object) -> TestRecord:
    body = {"type": "track", "event": "E", "anonymousId": "A", "messageId": message_id, **fields}
    return raw_call(body, project_id=project, at_ms=at_ms)


def audited(project: str | None, *argv: str) -> tuple[int, list[dict[str, object]]]:
    """Exit code and rows of an audit of the day of FIRST_HOUR_MS."""
    window = argv or ("--from", "2026-09-21", "--to", "2026-09-22")
    of = ("--project", project) if project else ()
    result = CliRunner().invoke(audit, ["--json", *of, *window])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Error" not in result.stderr, result.stderr
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


def counts(row: dict[str, object]) -> dict[str, object]:
    """The numbers of a row that are not 0."""
    return {name: number for name, number in row.items() if name not in NOT_SHOWN and number}


def wait_until_stored(system: System, project: str, events: int, letters: int = 0) -> None:
    def is_there() -> bool:
        there = [system.count(f"{view} WHERE project_id = {{p:String}}", p=project) for view in VIEWS]
        return there == [events, letters]

    eventually(is_there, f"{events} events and {letters} dead letters of {project}", 60, 0.05)
    eventually(lambda: not any(lag(system).values()), "a worker that has finished", 60, 0.1)


VIEWS = ("events", "rejected_events")


def lag(system: System) -> dict[str, int]:
    """Records that no worker has finished yet."""

    async def asked() -> dict[str, int]:
        async with scanner(system.settings) as scan:
            return {
                topic: sum((await scan.ends(topic)).values())
                - sum((await scan.committed(WORKER_GROUP, topic)).values())
                for topic in (RAW, STITCHED, REJECTED)
            }

    return asyncio.run(asked())


def delete(system: System, table: str, where: str, **params: object) -> None:
    system.store.command(f"ALTER TABLE {table} DELETE WHERE {where} SETTINGS mutations_sync = 2", params)


def test_what_waits_in_the_sink_is_under_way(system: System, project: str) -> None:
    slow = replace(system, settings=system.settings.model_copy(update={"sink_max_wait_s": 60.0}))
    with slow.worker():
        system.publish(track(project, "m1"), track(project, "m2", userId=None, anonymousId=None))
        eventually(lambda: lag(system)[RAW] == 0, "a worker that has passed on all", 60, 0.1)
        code, [row] = audited(project)
    assert code == 0
    assert counts(row) == {"received": 2, "under_way": 2}


def test_all_that_was_received_is_accounted_for_by_hour(
    system: System, project: str, worker: subprocess.Popen[bytes]
) -> None:
    later = FIRST_HOUR_MS + HOUR_MS
    system.publish(
        *(track(project, f"m{n}", FIRST_HOUR_MS + n * 1000) for n in range(20)),
        track(project, "m3", FIRST_HOUR_MS + 50_000),  # a client's retry
        track(project, "m4", later),  # and one an hour later
        track(project, "m5", FIRST_HOUR_MS + 60_000, anonymousId="B"),  # and one that another partition takes
        track(project, "blocked", later, userId="null"),  # kept; only a tie is refused
        track(project, "nobody", later, anonymousId=None),
        track(project, "nobody", later + 1, anonymousId=None),
        track(project, "late", later, properties={"n": "☃"}),
        raw_call(b'{"type":"track","event":"E","anonymousId":"A","properties":{"n":1e999}}', project_id=project,
                 at_ms=later, message_id="odd"),
        forget(project, "nobody-else", ()),
    )  # fmt: skip
    wait_until_stored(system, project, events=22, letters=4)
    code, [first, second] = audited(project)
    assert code == 0
    assert (first["hour"], first["ok"], counts(first)) == (FIRST_HOUR, True, {"received": 20, "stored": 20})
    assert counts(second) == {"received": 4, "stored": 2, "rejected": 2}


def forget(project: str, anonymous_id: str, user_ids: tuple[str, ...]) -> TestRecord:
    at_ms = FIRST_HOUR_MS + 2 * HOUR_MS
    key, value, _, headers = order_record(Forget(project, anonymous_id, user_ids), at_ms)
    return TestRecord(value, headers, key, timestamp=at_ms)


def test_a_row_deleted_by_hand_is_missing(system: System, project: str, worker: subprocess.Popen[bytes]) -> None:
    system.publish(*(track(project, f"m{n}", FIRST_HOUR_MS + n * 120_000) for n in range(10)))
    wait_until_stored(system, project, events=10)
    delete(system, "events_stored", "project_id = {p:String} AND message_id = 'm7'", p=project)
    code, [row] = audited(project)
    assert code == 1
    assert counts(row) == {"received": 10, "stored": 9, "missing": 1}
    assert (row["ok"], row["missing_ids"]) == (False, ["m7"])
    result = CliRunner().invoke(audit, ["--project", project, "--from", "2026-09-21", "--to", "2026-09-22"])
    assert result.exit_code == 1
    assert f"missing: {project} m7" in result.stdout
    assert result.stdout.splitlines()[1].split() == [
        "WRONG",
        project,
        "2026-09-21T15Z",
        "10",
        "9",
        "0",
        "0",
        "1",
        "0",
        "0",
    ]


def test_a_row_put_in_by_hand_is_unexpected(system: System, project: str, worker: subprocess.Popen[bytes]) -> None:
    system.publish(track(project, "m1"))
    wait_until_stored(system, project, events=1)
    insert(system.store, event_row(project_id=project, message_id="forged", received_at=FIRST_HOUR_MS / 1000))
    code, [row] = audited(project)
    assert (code, counts(row)) == (1, {"received": 1, "stored": 1, "unexpected": 1})
    assert row["unexpected_ids"] == ["forged"]


def test_one_row_for_another_in_the_same_moment_is_both_missing_and_unexpected(
    system: System, project: str, worker: subprocess.Popen[bytes]
) -> None:
    system.publish(track(project, "m1"))
    wait_until_stored(system, project, events=1)
    delete(system, "events_stored", "project_id = {p:String}", p=project)
    insert(system.store, event_row(project_id=project, message_id="m2", received_at=FIRST_HOUR_MS / 1000))
    code, [row] = audited(project)
    assert (code, counts(row)) == (1, {"received": 1, "missing": 1, "unexpected": 1})


@pytest.mark.parametrize("after_ms", [-HOUR_MS, 0, HOUR_MS])
def test_a_second_row_of_a_message_is_hidden_by_the_view_and_no_fault(
    system: System, project: str, worker: subprocess.Popen[bytes], after_ms: int
) -> None:
    system.publish(track(project, "m1", FIRST_HOUR_MS + HOUR_MS))
    wait_until_stored(system, project, events=1)
    at_s = (FIRST_HOUR_MS + HOUR_MS + after_ms) / 1000
    insert(system.store, event_row(project_id=project, message_id="m1", received_at=at_s))
    code, [row] = audited(project)
    assert (code, counts(row)) == (0, {"received": 1, "stored": 1})


def test_a_message_that_a_query_would_see_twice_is_doubled(
    system: System, project: str, worker: subprocess.Popen[bytes]
) -> None:
    system.publish(track(project, "m1"), track(project, "m2"))
    wait_until_stored(system, project, events=2)
    with no_merges(system), view_without_final(system):
        insert(system.store, event_row(project_id=project, message_id="m1", received_at=FIRST_HOUR_MS / 1000))
        code, [row] = audited(project)
    assert (code, counts(row)) == (1, {"received": 2, "stored": 2, "doubled": 1})
    assert row["doubled_ids"] == ["m1"]


@contextmanager
def no_merges(system: System) -> Iterator[None]:
    """A merge in the background would take the second row away before the audit reads it."""
    system.store.command("SYSTEM STOP MERGES events_stored")
    try:
        yield
    finally:
        system.store.command("SYSTEM START MERGES events_stored")


@contextmanager
def view_without_final(system: System) -> Iterator[None]:
    [row] = system.rows(
        "SELECT create_table_query AS sql FROM system.tables WHERE database = currentDatabase() AND name = 'events'"
    )
    made = row["sql"].replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
    system.store.command(made.replace(" FINAL", ""))
    try:
        yield
    finally:
        system.store.command(made)


def test_a_dead_letter_deleted_by_hand_is_missing_and_a_dropped_one_is_not(
    system: System, project: str, worker: subprocess.Popen[bytes]
) -> None:
    system.publish(*(track(project, f"m{n}", FIRST_HOUR_MS + n * 60_000, anonymousId=None) for n in range(3)))
    wait_until_stored(system, project, events=0, letters=3)
    dropped = CliRunner().invoke(dead_letters, ["drop", "--yes", "--project", project, "--to", "2026-09-21T15:01:00Z"])
    assert dropped.stdout == "1 dropped\n"
    code, [row] = audited(project)
    assert (code, counts(row)) == (0, {"received": 3, "rejected": 2, "dropped": 1})
    delete(system, "rejected_events_stored", "project_id = {p:String} AND message_id = 'm2'", p=project)
    code, [row] = audited(project)
    assert (code, row["missing_ids"]) == (1, ["m2"])


def test_a_dead_letter_that_was_tried_again_is_accounted_for(
    system: System, project: str, worker: subprocess.Popen[bytes]
) -> None:
    system.publish(track(project, "m1", anonymousId=None), track(project, "m2"))
    wait_until_stored(system, project, events=1, letters=1)
    assert CliRunner().invoke(dead_letters, ["retry", "--project", project]).exit_code == 0
    assert audited(project)[0] == 0, "while it is under way"
    wait_until_stored(system, project, events=1, letters=1)
    code, [row] = audited(project)
    assert (code, counts(row)) == (0, {"received": 2, "stored": 1, "rejected": 1})


def test_a_record_without_a_stamp_goes_by_its_place(system: System, worker: subprocess.Popen[bytes]) -> None:
    stray = TestRecord(b'{"messageId":"m1"}', key=b"stray", timestamp=FIRST_HOUR_MS)
    system.publish(stray, stray)
    eventually(lambda: system.count("rejected_events WHERE reason = 'no_stamp'") >= 2, "two dead letters")
    _, rows = audited(None)
    [row] = [row for row in rows if row["project"] is None]
    assert counts(row) == {"received": 2, "rejected": 2}
    delete(system, "rejected_events_stored", "reason = 'no_stamp'")
    code, rows = audited(None)
    [row] = [row for row in rows if row["project"] is None]
    assert (code, counts(row)) == (1, {"received": 2, "missing": 2})
    assert all(str(place).startswith("events.raw:") for place in row["missing_ids"])  # type: ignore[attr-defined]


def test_a_repeat_of_what_came_before_the_window_is_no_message_of_it(
    system: System, project: str, worker: subprocess.Popen[bytes]
) -> None:
    system.publish(track(project, "m1"), track(project, "m1", FIRST_HOUR_MS + HOUR_MS))
    system.publish(track(project, "m2", FIRST_HOUR_MS + HOUR_MS))
    wait_until_stored(system, project, events=2)
    code, [row] = audited(project, "--from", "2026-09-21T16:00Z", "--to", "2026-09-21T17:00Z")
    assert (code, counts(row)) == (0, {"received": 1, "stored": 1})


def test_what_a_person_who_was_forgotten_had_sent_is_not_missing(
    system: System, project: str, worker: subprocess.Popen[bytes]
) -> None:
    gone = str(person_id(project, "U2", None))
    system.set_project(Forgotten(project, gone, FIRST_HOUR_MS + 1000))  # type: ignore[arg-type]
    system.publish(
        track(project, "m1", userId="U"),
        track(project, "m2", anonymousId="A"),
        track(project, "m3", anonymousId=None, userId="U2"),
        track(project, "m4", anonymousId="B"),
        track(project, "m5", FIRST_HOUR_MS + 2000, anonymousId=None, userId="U2"),
        forget(project, "A", ("U",)),
    )
    wait_until_stored(system, project, events=5)
    delete(system, "events_stored", "project_id = {p:String}", p=project)
    code, [row] = audited(project)
    assert (code, counts(row)) == (1, {"received": 5, "forgotten": 3, "missing": 2})
    assert sorted(row["missing_ids"]) == ["m4", "m5"]  # type: ignore[call-overload]


def test_a_table_that_was_emptied_is_missed_whole(
    system: System, project: str, worker: subprocess.Popen[bytes]
) -> None:
    system.publish(*(track(project, f"m{n}", FIRST_HOUR_MS + n * 1000) for n in range(300)))
    wait_until_stored(system, project, events=300)
    delete(system, "events_stored", "project_id = {p:String}", p=project)
    code, [row] = audited(project)
    assert (code, counts(row)) == (1, {"received": 300, "missing": 300})


def test_what_no_worker_has_taken_yet_is_under_way(
    system: System, project: str, worker: subprocess.Popen[bytes]
) -> None:
    with paused(worker):
        system.publish(*(track(project, f"m{n}") for n in range(5)))
        code, [row] = audited(project)
    assert (code, counts(row)) == (0, {"received": 5, "under_way": 5})
    wait_until_stored(system, project, events=5)
    assert counts(audited(project)[1][0]) == {"received": 5, "stored": 5}


def test_audits_agree_while_events_come_in(system: System, project: str, worker: subprocess.Popen[bytes]) -> None:
    sent, enough = [0], threading.Event()

    def send() -> None:
        while not enough.is_set():
            now_ms = time.time_ns() // 1_000_000
            system.publish(*(track(project, f"m{sent[0] + n}", now_ms, anonymousId=f"A{n}") for n in range(50)))
            sent[0] += 50

    sending = threading.Thread(target=send)
    sending.start()
    try:
        eventually(lambda: system.count("events WHERE project_id = {p:String}", p=project) > 100, "a stream of events")
        for _ in range(3):
            code, rows = audited(project, "--from", "2026-01-01")
            assert code == 0, rows
    finally:
        enough.set()
        sending.join()
    wait_until_stored(system, project, events=sent[0])
    code, rows = audited(project, "--from", "2026-01-01")
    assert code == 0
    assert sum(int(str(row["stored"])) for row in rows) == sent[0]


def test_a_record_that_stands_behind_much_later_ones_is_found(
    system: System, project: str, worker: subprocess.Popen[bytes]
) -> None:
    system.publish(track(project, "m1", FIRST_HOUR_MS + 48 * HOUR_MS), track(project, "m2"))
    wait_until_stored(system, project, events=2)
    code, [row] = audited(project)
    assert (code, counts(row)) == (0, {"received": 1, "stored": 1})


def test_a_window_that_ends_before_it_begins_is_wrong_usage() -> None:
    assert CliRunner().invoke(audit, ["--from", "2026-02-01", "--to", "2026-01-01"]).exit_code == 2


def test_what_events_raw_no_longer_keeps_is_not_audited(
    system: System, project: str, worker: subprocess.Popen[bytes]
) -> None:
    """The last test here: it takes the topic's beginning away."""
    system.publish(track(project, "m1"), track(project, "m2", FIRST_HOUR_MS + HOUR_MS))
    wait_until_stored(system, project, events=2)
    asyncio.run(delete_records_before_the_last(system, partition_of(track(project, "m1").key or b"", 4)))
    code, rows = audited(project)
    assert (code, [counts(row) for row in rows]) == (0, [{"received": 1, "stored": 1}])
    told = CliRunner().invoke(audit, ["--project", project, "--from", "2026-09-21", "--to", "2026-09-22"]).stderr
    assert "events.raw reaches back to 2026-09-21T16:00:00Z" in told


async def delete_records_before_the_last(system: System, partition: int) -> None:
    async with scanner(system.settings) as scan:
        end = (await scan.ends(RAW))[partition]
    await take_away(system.settings, RAW, {partition: end - 1})
