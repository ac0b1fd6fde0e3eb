"""A short seeded run on a whole system; and that a broken promise would be told."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from tests.chaos.client import Ledger
from tests.chaos.faults import KINDS
from tests.chaos.odd_records import At
from tests.chaos.parts import ROOT
from tests.chaos.plan import plan
from tests.chaos.promise import Broken, Expected, Seen, differences
from tests.chaos.report import table, violations
from tests.chaos.run import Load, Outcome
from tests.chaos.systems import against_parts
from tests.chaos.traffic import Traffic, new_keys
from tests.waiting import eventually
from topics.names import RAW

SEED = 7
FAULTS = ("kill-worker", "kill-ingress", "kill-store", "kill-kafka", "at-facts-out", "at-events-out", "shifted-clock")
CLUSTER_FAULTS = ("lose-kafka-1", "lose-kafka-2", "lose-kafka-3")


def test_every_message_that_was_promised_is_there_after_faults_of_many_kinds(tmp_path: Path) -> None:
    outcome = against_parts(tmp_path, 1, Load(SEED, 20), plan(SEED, FAULTS, 1, longest_calm_s=0.5), print)
    assert outcome.broken == [], violations(outcome)
    assert set(outcome.recovered_s) == set(FAULTS)


@pytest.mark.long
def test_no_broker_of_three_is_missed(tmp_path: Path) -> None:
    outcome = against_parts(tmp_path, 3, Load(SEED, 20), plan(SEED, CLUSTER_FAULTS, 1, longest_calm_s=0.5), print)
    assert outcome.broken == [], violations(outcome)
    assert set(outcome.recovered_s) == set(CLUSTER_FAULTS)


def test_nothing_is_left_running_after_ctrl_c(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tests.chaos", "--faults", "pause-store", "--folder", str(tmp_path)]
    harness = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually((tmp_path / "worker-ready").exists, "a worker is ready", 120, poll_s=0.05)
        started = psutil.Process(harness.pid).children(recursive=True)
        assert len(started) >= 4
        harness.send_signal(signal.SIGINT)
        harness.wait(60)
    finally:
        harness.kill()
        harness.wait()
    assert [each for each in started if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []


NOBODY = UUID(int=0)
ANN, BOB, CARL = ("shop", "f1.1"), ("shop", "f1.2"), ("shop", "f1.3")


def world() -> tuple[Expected, Seen, Ledger]:
    """Three messages of the fifth fault: two stored, one refused; and nothing wrong."""
    who: dict[tuple[str, str], tuple[str | None, UUID]] = {ANN: ("ann", NOBODY), BOB: (None, NOBODY)}
    letters = {(*CARL, "missing_id")}
    expected = Expected({ANN, BOB, CARL}, {ANN, BOB}, dict(who), set(letters), set(), {})
    seen = Seen(Counter((ANN, BOB)), dict(who), set(letters), {At(RAW, 0, 1)}, set(), {})
    ledger = Ledger()
    ledger.will_send([ANN, BOB, CARL], 5)
    ledger.was_answered([ANN, BOB, CARL], 200)
    return expected, seen, ledger


def claims(expected: Expected, seen: Seen, ledger: Ledger) -> list[tuple[str, int]]:
    return [(each.claim, each.fault) for each in differences(expected, seen, ledger)]


def test_nothing_is_told_where_the_promise_holds() -> None:
    assert claims(*world()) == []


def test_answered_message_that_is_not_in_the_topic_is_lost() -> None:
    expected, seen, ledger = world()
    ledger.will_send([("shop", "f1.4")], 6)
    ledger.was_answered([("shop", "f1.4")], 200)
    assert claims(expected, seen, ledger) == [("lost", 6)]


def test_message_that_was_not_answered_may_be_missing() -> None:
    expected, seen, ledger = world()
    ledger.will_send([("shop", "f1.4")], 6)
    ledger.was_answered([("shop", "f1.4")], 503)
    assert claims(expected, seen, ledger) == []


def test_message_that_is_neither_stored_nor_refused_is_lost() -> None:
    expected, seen, ledger = world()
    del seen.counts[ANN], seen.who[ANN]
    assert claims(expected, seen, ledger) == [("lost", 5)]


def test_dead_letter_that_is_missing_is_lost() -> None:
    expected, seen, ledger = world()
    expected.letters.add((*ANN, "blocked_id"))
    assert claims(expected, seen, ledger) == [("lost", 5)]


def test_message_that_a_query_shows_twice_is_told() -> None:
    expected, seen, ledger = world()
    seen.counts[BOB] += 1
    assert claims(expected, seen, ledger) == [("twice", 5)]


def test_wrong_owner_is_told() -> None:
    expected, seen, ledger = world()
    seen.who[BOB] = ("ann", NOBODY)
    assert claims(expected, seen, ledger) == [("wrong owner", 5)]


def test_link_and_person_that_are_missing_are_told() -> None:
    expected, seen, ledger = world()
    expected.links.add(("shop", "f1.a", "f1.u", 1, "f1.1", "exact", 1))
    expected.persons["shop", "f1.u"] = ("f1.v", "joined")
    assert claims(expected, seen, ledger) == [("wrong owner", 5)] * 2


def test_stored_message_that_nobody_sent_is_told() -> None:
    expected, seen, ledger = world()
    seen.counts["shop", "f9.1"] += 1
    assert {claim for claim, _ in claims(expected, seen, ledger)} == {"other"}


def test_a_5xx_that_is_no_503_is_told() -> None:
    expected, seen, ledger = world()
    ledger.was_answered([ANN], 500)
    ledger.was_answered([ANN], 503)
    assert claims(expected, seen, ledger) == [("other", 0)]


def test_table_counts_what_was_broken_under_the_fault_before_it() -> None:
    outcome = Outcome({1: "kill-store"}, {"kill-store": [1.0, 3.0]}, [Broken("lost", 1, "m"), Broken("twice", 0, "n")])
    assert table(outcome).splitlines()[2:] == [
        "| kill-store | 1 | 1 | 0 | 0 | 2.0 | 3.0 |",
        "| none | 0 | 0 | 1 | 0 | none | none |",
    ]


def test_seed_makes_one_plan_and_one_traffic() -> None:
    assert [*plan(3, list(KINDS), 2, 4)] == [*plan(3, list(KINDS), 2, 4)] != [*plan(4, list(KINDS), 2, 4)]
    keys, _ = new_keys()
    ones, others = Traffic(3, keys), Traffic(3, keys)
    assert [ones.request(n).sent for n in range(200)] == [others.request(n).sent for n in range(200)]


def test_what_the_points_are_wrapped_around_is_there() -> None:
    arming = "from tests.chaos.points import POINTS, arm\nfor point in POINTS.values(): arm(point, 1)"
    armed = subprocess.run([sys.executable, "-c", arming], cwd=ROOT, capture_output=True, text=True)
    assert armed.returncode == 0, armed.stderr
