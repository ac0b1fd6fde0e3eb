"""The worker as a process, on real Kafka and a real store: what it is sent is stored once, or is a dead letter."""

import itertools
import signal
from uuid import uuid4

import pytest

from agents.failure import EXIT_CODE, STAY_DOWN
from tests.fixtures.system import BUG, System
from tests.records import START_MS, TestRecord, raw_call
from tests.waiting import eventually
from topics.control import Project
from topics.names import STITCHED


def track(project: str, message_id: str, anonymous_id: str = "A", n: int = 0, **fields: object) -> TestRecord:
    body = {"type": "track", "event": "E", "anonymousId": anonymous_id, "messageId": message_id, **fields}
    return raw_call(body, project_id=project, at_ms=START_MS + n * 1000, offset=n)


def identify(project: str, message_id: str, anonymous_id: str, user_id: str, n: int = 0) -> TestRecord:
    body: dict[str, object] = {
        "type": "identify",
        "anonymousId": anonymous_id,
        "userId": user_id,
        "messageId": message_id,
    }
    return raw_call(body, project_id=project, at_ms=START_MS + n * 1000, offset=n)


@pytest.fixture
def project() -> str:
    return f"p{uuid4().hex[:8]}"


def stored(system: System, project: str) -> set[str]:
    rows = system.rows("SELECT message_id FROM events WHERE project_id = {p:String}", p=project)
    ids = [str(row["message_id"]) for row in rows]
    assert len(ids) == len(set(ids)), "a query saw a duplicate"
    return set(ids)


def test_events_are_stitched_and_history_is_resolved(system: System, project: str) -> None:
    with system.worker():
        system.publish(track(project, "m1", "A", 1), identify(project, "m2", "A", "U", 2), track(project, "m3", "A", 3))
        eventually(lambda: stored(system, project) == {"m1", "m2", "m3"}, "three events in the store")
        eventually(lambda: system.count("identity_links WHERE project_id = {p:String}", p=project) == 1, "the link")
        rows = system.rows(
            "SELECT message_id, stitched_user_id, resolved_user_id FROM events_resolved_v "
            "WHERE project_id = {p:String} ORDER BY message_id",
            p=project,
        )
    assert [tuple(row.values()) for row in rows] == [("m1", None, "U"), ("m2", "U", "U"), ("m3", "U", "U")]


def test_a_duplicate_is_not_stored_even_after_a_restart(system: System, project: str) -> None:
    with system.worker():
        system.publish(track(project, "m1"), track(project, "m1"), track(project, "m2"))
        eventually(lambda: stored(system, project) == {"m1", "m2"}, "two events")
    with system.worker():
        system.publish(track(project, "m1"), track(project, "m3"))
        eventually(lambda: stored(system, project) == {"m1", "m2", "m3"}, "three events")
    # beneath the view that would hide them
    assert system.count("events_stored WHERE project_id = {p:String}", p=project) == 3


def test_who_owns_an_anonymous_id_is_known_after_a_restart(system: System, project: str) -> None:
    with system.worker():
        system.publish(identify(project, "m1", "A", "U", 1))
        eventually(lambda: stored(system, project) == {"m1"}, "the identify")
    with system.worker():
        system.publish(track(project, "m2", "A", 2))
        eventually(lambda: stored(system, project) == {"m1", "m2"}, "the event")
    [row] = system.rows(
        "SELECT stitched_user_id FROM events WHERE project_id = {p:String} AND message_id = 'm2'", p=project
    )
    assert row["stitched_user_id"] == "U"


def test_events_taken_while_the_worker_was_killed_are_stored_once(system: System, project: str) -> None:
    before = [track(project, f"b{n}", f"A{n % 9}", n) for n in range(300)]
    during = [track(project, f"d{n}", f"A{n % 9}", n) for n in range(300)]
    with system.worker() as worker:
        system.publish(*before)
        worker.kill()
        worker.wait()
    system.publish(*during)
    with system.worker():
        expected = {f"{kind}{n}" for kind in "bd" for n in range(300)}
        eventually(lambda: stored(system, project) == expected, "every event")


GARBAGE = {
    "nothing": TestRecord(value=None, key=b"g"),
    "bytes": TestRecord(value=b"\x00\xff garbage", key=b"g"),
    "a broken stamp": TestRecord(value=b"{}", headers=(("whipstitch", b"{"),), key=b"g"),
    "100,000 deep": TestRecord(value=b"[" * 100_000, key=b"g"),
}


def test_garbage_becomes_dead_letters_and_the_partition_moves_on(system: System, project: str) -> None:
    before = system.count("rejected_events WHERE reason = 'no_stamp'")
    with system.worker() as worker:
        system.publish(*GARBAGE.values())
        refused = [
            track(project, "large", properties={"x": "y" * 40_960}),
            raw_call(b'{"type":"track","event":"\xff"}', project_id=project, message_id="utf8"),
            raw_call(b'{"x":' + b"[" * 9000 + b"]" * 9000 + b"}", project_id=project, message_id="deep"),
        ]
        system.publish(*refused, track(project, "fine"))
        eventually(lambda: stored(system, project) == {"fine"}, "the event behind the garbage")
        eventually(lambda: system.count("rejected_events WHERE project_id = {p:String}", p=project) == 3, "refusals")
        eventually(lambda: system.count("rejected_events WHERE reason = 'no_stamp'") == before + 4, "dead letters")
        assert worker.poll() is None
    rows = system.rows("SELECT message_id, reason FROM rejected_events WHERE project_id = {p:String}", p=project)
    assert {row["message_id"]: row["reason"] for row in rows} == {
        "large": "too_large",
        "utf8": "invalid_json",
        "deep": "too_deep",
    }


def test_a_row_that_the_store_cannot_hold_is_found_and_the_others_are_stored(system: System, project: str) -> None:
    with system.worker():
        junk = [TestRecord(value=b"not a row", key=b"k%d" % n) for n in range(3)]
        system.publish(*junk[:2], topic=STITCHED)
        system.publish(*(track(project, f"m{n}") for n in range(50)))
        system.publish(junk[2], topic=STITCHED)
        eventually(lambda: stored(system, project) == {f"m{n}" for n in range(50)}, "the good rows")
        eventually(lambda: system.count("rejected_events WHERE reason = 'store_refused'") == 3, "the bad rows")
    rows = system.rows("SELECT raw, step, detail FROM rejected_events WHERE reason = 'store_refused'")
    assert {(row["raw"], row["step"]) for row in rows} == {("not a row", "sink")}
    assert all(row["detail"].startswith("code ") for row in rows)


def test_a_bug_ends_the_process_and_commits_nothing(system: System, project: str) -> None:
    with system.worker(BUG) as worker:
        system.publish(track(project, "m1"))
        assert worker.wait(30) == EXIT_CODE
    assert "ZeroDivisionError" in system.log_of(worker)
    with system.worker():
        eventually(lambda: stored(system, project) == {"m1"}, "the event after the bug was mended")


WATCHFUL = "import os; os.environ['WHIPSTITCH_REJECTION_LIMIT_EVENTS'] = '100'; "


def test_a_worker_that_is_sent_everything_again_does_not_stop_for_what_it_refused_before(
    system: System, project: str
) -> None:
    """Three times 90 events, duplicates from the second time on, and behind each second one another that is refused."""
    sent = []
    for n in range(90):
        sent.append(track(project, f"g{n}", f"A{n}", n))
        if n % 2:
            bad: dict[str, object] = {"type": "nonsense", "anonymousId": f"A{n}"}
            sent.append(raw_call(bad, project_id=project, message_id=f"b{n}", ip=f"192.0.2.{n}"))
    letters = "rejected_events WHERE project_id = {p:String}"
    with system.worker(WATCHFUL) as worker:
        for turn in (1, 2, 3):
            system.publish(*sent)
            eventually(lambda n=45 * turn: system.count(letters, p=project) == n, "all that is refused")  # type: ignore[misc]
        system.publish(track(project, "last"))
        eventually(lambda: "last" in stored(system, project), "the event behind all that")
        assert worker.poll() is None


def test_a_worker_that_refuses_what_everybody_sends_stops_and_is_not_to_be_started_again(
    system: System, project: str
) -> None:
    refused = [
        raw_call({"type": "nonsense"}, project_id=project, offset=n, message_id=f"m{n}", ip=f"192.0.2.{n}")
        for n in range(120)
    ]
    with system.worker(WATCHFUL) as worker:
        system.publish(*refused)
        assert worker.wait(60) == STAY_DOWN
    assert "dead-letters retry" in system.log_of(worker)


STUCK = """
import asyncio, agents.stitch, agents.watchdog, agents.worker
agents.watchdog._LOOK_EVERY_S = 0.2
watch = agents.worker.watch
agents.worker.watch = lambda app, log, pulse, _: watch(app, log, pulse, 1.0)
async def silence(*_): await asyncio.Event().wait()
agents.stitch.Stitcher._settle = silence
"""


def test_a_worker_that_stands_still_without_an_error_ends_and_says_where(system: System, project: str) -> None:
    with system.worker(STUCK) as worker:
        system.publish(track(project, "m1"))
        assert worker.wait(30) == EXIT_CODE
    assert " of events.raw " in system.log_of(worker)
    with system.worker():
        eventually(lambda: stored(system, project) == {"m1"}, "the event, by a worker that works")


def test_the_last_of_two_workers_takes_over_from_one_that_is_killed(system: System, project: str) -> None:
    with system.worker(), system.worker(worker_id="w2") as other:
        system.publish(*(track(project, f"b{n}", f"A{n}", n) for n in range(100)))
        eventually(lambda: len(stored(system, project)) > 0, "the first events")
        other.kill()
        system.publish(*(track(project, f"d{n}", f"A{n}", n) for n in range(100)))
        expected = {f"{kind}{n}" for kind in "bd" for n in range(100)}
        eventually(lambda: stored(system, project) == expected, "every event", timeout_s=60)


def test_a_projects_settings_reach_a_worker_that_runs(system: System, project: str) -> None:
    numbers = itertools.count()

    def is_blocked() -> bool:
        system.publish(track(project, f"m{next(numbers)}", userId="tester"))
        blocked = "events WHERE project_id = {p:String} AND user_id IS NULL AND has(warnings, 'blocked_user_id')"
        return system.count(blocked, p=project) > 0

    with system.worker():
        assert not is_blocked()
        system.set_project(Project(project, 0, blocked_ids=("Tester",)))
        eventually(is_blocked, "the user to be blocked", poll_s=0.1)


def test_it_stops_in_order_when_told_to(system: System) -> None:
    with system.worker() as worker:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    assert "Unclosed" not in system.log_of(worker)
