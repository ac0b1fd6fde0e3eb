"""A squash changes no answer: not when it ran, nor with all that comes later, nor where it was killed half way."""

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from threading import Thread
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.squash import squash as squash_command
from store.client import Store, StoreFailure
from store.squash import MOST_STEPS, Squashed, discard, squash
from store.tables import EVENTS, LINKS, PERSONS, PROJECTS
from tests.resolving import (
    EACH_POLICY,
    Message,
    Settings,
    Step,
    Told,
    any_message,
    asked,
    distinct_receipts,
    event,
    event_of,
    first,
    identify,
    link_of,
    model,
    put,
    reset,
    settings_of,
    step_of,
    tell,
    to_each_project,
)
from tests.rows import migrated

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
MONTH_S = 31 * 86400


@pytest.fixture
def address(store_url: str) -> str:
    return f"{store_url}/squash_{uuid4().hex}"


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    """A squash is of the whole store, so each test has one of its own."""
    with migrated(address) as opened:
        yield opened
        opened.command(f"DROP DATABASE {address.rpartition('/')[2]}")


@pytest.fixture(scope="module")
def shared_store(store_url: str) -> Iterator[Store]:
    with migrated(f"{store_url}/squash_shared") as opened:
        yield opened


HISTORY = [
    event(1),
    identify(2, "A", "U1"),
    event(3),
    identify(5, "A", "U2"),
    event(6),
    event(7, "B"),
    identify(8, "C", "U1"),
    event(9, "C"),
    event(10, None, "U1"),
    event(11, None),
    reset(12, "D"),
    event(13, "D"),
]


def more(store: Store, run: str, *messages: Message) -> None:
    """What comes after the squash."""
    put(store, EVENTS, [event_of(message, run) for message in messages])
    put(store, LINKS, [link_of(message, run) for message in messages if message.ties])


def read_short(store: Store) -> int:
    """How many events the views read without the joins."""
    sql = f"""
        SELECT count() AS events FROM {EVENTS}
        WHERE squashed_terms IN (SELECT terms FROM squash_terms)
            AND own_person_id NOT IN (SELECT anonymous_person_id FROM squash_touched)
    """
    return int(store.query(sql)[0]["events"])


def test_squash_changes_no_answer_and_is_read(store: Store) -> None:
    told = Told(HISTORY, [Step(50, "U1", "U9")])
    run = tell(store, told)
    before = asked(store, told, run)
    months = []
    assert squash(store, NEW_YEAR, told=lambda *at: months.append(at)) == Squashed(1, len(HISTORY), 0)
    assert months == [("197001", 1, 1)]
    assert asked(store, told, run) == before == model(told)
    assert read_short(store) == len(HISTORY)


def test_only_whole_months_before_the_date_are_squashed(store: Store) -> None:
    tell(store, Told([replace(event(at), received_at=at) for at in (1, MONTH_S, 2 * MONTH_S)]))
    assert squash(store, datetime(1970, 2, 28, tzinfo=UTC)) == Squashed(1, 1, 0)
    assert squash(store, datetime(1970, 3, 1, tzinfo=UTC)) == Squashed(2, 2, 0)
    assert squash(store, datetime(1970, 1, 1, tzinfo=UTC)).months == 2, "what was squashed stays so"
    assert read_short(store) == 2


LATER: dict[str, list[Message]] = {
    "a user for one that had none": [identify(14, "B", "U1")],
    "another user": [identify(4, "C", "U2")],
    "a user before all others": [identify(0, "A", "U3")],
    "a reset": [reset(8, "C")],
    "many users": [identify(20 + number, "C", f"V{number}") for number in range(11)],
    "mixpanel's identify, the earliest": [first(1, "C", "U3")],
    "an event in a squashed month": [replace(event(4), id="late"), replace(event(9, "C"), id="late2")],
    "the same fact again": [identify(2, "A", "U1")],
    "an earlier receipt of a fact": [replace(identify(8, "C", "U3", id="08iCU1"), received_at=50)],
    "an earlier receipt that makes no fact": [replace(event(8, "C", id="08iCU1"), received_at=50)],
    "an earlier receipt about another id": [replace(identify(8, "B", "U1", id="08iCU1"), received_at=50)],
    "a later receipt": [replace(identify(8, "C", "U3", id="08iCU1"), received_at=150)],
    "an earlier receipt of an event": [replace(event(9, "B", id="09e"), received_at=50)],
}


def test_what_comes_later_changes_squashed_history(store: Store) -> None:
    """Each case in a project of its own."""
    told = Told([replace(message, project=case) for case in LATER for message in HISTORY])
    run = tell(store, told)
    squash(store, NEW_YEAR)
    later = [replace(message, project=case) for case, messages in LATER.items() for message in messages]
    last = [replace(identify(30, id, "U7"), project=case) for case in LATER for id in "AB"]
    for arrived in (later, last):
        more(store, run, *arrived)
        told = Told([*told.messages, *arrived])
        assert asked(store, told, run) == model(told)
        squash(store, NEW_YEAR)
        assert asked(store, told, run) == model(told)


@settings(max_examples=3)
@given(phases=st.lists(st.lists(any_message, max_size=12), min_size=2, max_size=3), again=st.randoms())
def test_any_messages_before_and_after_a_squash(
    shared_store: Store, phases: list[list[Message]], again: random.Random
) -> None:
    distinct = to_each_project(distinct_receipts([message for phase in phases for message in phase]))
    again.shuffle(distinct)
    told = Told([], settings=EACH_POLICY)
    run = tell(shared_store, told)
    for number in range(len(phases)):
        arrived = distinct[number :: len(phases)]
        repeated = again.sample(list(told.messages), len(told.messages) // 3)
        more(shared_store, run, *arrived, *repeated)
        told = replace(told, messages=[*told.messages, *arrived])
        assert asked(shared_store, told, run) == model(told)
        squash(shared_store, NEW_YEAR)
        assert asked(shared_store, told, run) == model(told)


def test_merge_changes_squashed_history_and_is_read_the_short_way(store: Store) -> None:
    told = Told(HISTORY)
    run = tell(store, told)
    squash(store, NEW_YEAR)
    for steps in ([Step(50, "U1", "U2")], [Step(50, "U1", "U2"), Step(60, "U1", "U1", version=1)]):
        put(store, PERSONS, [step_of(step, run) for step in steps])
        assert asked(store, told, run) == model(replace(told, steps=steps))
    assert read_short(store) == len(HISTORY)


@pytest.mark.parametrize(
    "later", [Settings("first_wins"), Settings("isolate"), Settings("interval", most_users=1)], ids=str
)
def test_other_settings_change_squashed_history_and_back(store: Store, later: Settings) -> None:
    told = Told(HISTORY, settings={"p": Settings()})
    run = tell(store, told)
    squash(store, NEW_YEAR)
    for version, now in enumerate((later, Settings()), 1):
        put(store, PROJECTS, [settings_of("p", now, run, version)])
        assert asked(store, told, run) == model(replace(told, settings={"p": now}))
        assert bool(read_short(store)) == (now == Settings())
    put(store, PROJECTS, [settings_of("p", later, run, 3)])
    squash(store, NEW_YEAR)
    assert asked(store, told, run) == model(replace(told, settings={"p": later}))
    assert read_short(store) == len(HISTORY)


def test_history_as_of_an_earlier_moment_is_not_squashed(store: Store) -> None:
    told = Told([replace(message, received_at=100 + message.at) for message in HISTORY])
    run = tell(store, told)
    squash(store, NEW_YEAR)
    for at in (102, 104, 107, 115):
        assert asked(store, told, run, at) == model(told, at)


def test_one_project_is_squashed_and_others_are_not(store: Store) -> None:
    told = Told([replace(message, project=project) for message in HISTORY for project in ("p", "q")])
    run = tell(store, told)
    assert squash(store, NEW_YEAR, f"{run}p") == Squashed(1, len(HISTORY), 0)
    assert asked(store, told, run) == model(told)
    assert read_short(store) == len(HISTORY)


def test_id_that_changed_hands_very_often_is_joined(store: Store) -> None:
    often = [identify(at, "A", f"U{at % 2}") for at in range(MOST_STEPS + 1)]
    told = Told(
        [*often, event(5), event(50), *(identify(at, "B", f"U{at % 2}") for at in range(9)), event(4, "B", id="b")]
    )
    run = tell(store, told)
    assert squash(store, NEW_YEAR).joined == 2
    assert asked(store, told, run) == model(told)
    more(store, run, *(identify(10 + at, "B", f"U{at % 2}") for at in range(MOST_STEPS)))
    squash(store, NEW_YEAR)
    now = Told([*told.messages, *(identify(10 + at, "B", f"U{at % 2}") for at in range(MOST_STEPS))])
    assert asked(store, now, run) == model(now)


def test_facts_that_were_deleted_count_no_more_once_it_is_discarded(store: Store) -> None:
    told = Told(HISTORY, settings={"p": Settings("isolate")})
    run = tell(store, told)
    squash(store, NEW_YEAR)
    store.command(f"ALTER TABLE {LINKS} DELETE WHERE user_id = 'U2' SETTINGS mutations_sync = 2")
    store.command(f"ALTER TABLE {EVENTS} DELETE WHERE user_id = 'U2' SETTINGS mutations_sync = 2")
    discard(store, f"{run}p")
    left = replace(told, messages=[message for message in HISTORY if message.user != "U2"])
    assert asked(store, left, run) == model(left)
    squash(store, NEW_YEAR)
    assert asked(store, left, run) == model(left)
    assert read_short(store) == len(left.messages)


class Killed(Exception):
    """Stands for a kill at that command."""


class Mortal:
    """A store over which the process dies before its n-th command."""

    def __init__(self, store: Store, commands: int) -> None:
        self._store = store
        self._left = commands
        self.query = store.query

    def command(self, sql: str, params: dict[str, object] | None = None) -> None:
        if self._left == 0:
            raise Killed
        self._left -= 1
        self._store.command(sql, params)


@pytest.mark.parametrize("apart", [pytest.param(1, marks=pytest.mark.long), 4])
def test_squash_that_is_killed_at_any_step_changes_no_answer(store: Store, apart: int) -> None:
    told = Told(HISTORY)
    run = tell(store, told)
    arrived, survived, commands = list(HISTORY), False, 0
    while not survived:
        try:
            squash(Mortal(store, commands), NEW_YEAR)  # type: ignore[arg-type]
            survived = True
        except Killed:
            commands += apart
        new = [
            identify(20 + commands, "ABCD"[commands % 4], f"W{commands % 3}"),
            event(commands, "B", id=f"n{commands}"),
        ]
        more(store, run, *new)
        arrived += new
        assert asked(store, Told(arrived), run) == model(Told(arrived))
    assert commands > 8
    assert squash(store, NEW_YEAR) == Squashed(1, len(arrived), 0)
    assert asked(store, Told(arrived), run) == model(Told(arrived))
    assert (
        store.query("SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE 'squash_run%'")
        == []
    )


def test_what_a_killed_run_is_still_writing_is_broken_off(store: Store) -> None:
    told = Told(HISTORY)
    run = tell(store, told)
    store.command("CREATE TABLE squash_run_1_owners (one UInt8) ENGINE = Memory")
    stuck = "UPDATE squashed_user_id = toString(throwIf(true, 'squash_run_1_owners')) WHERE true"
    store.command(f"ALTER TABLE {EVENTS} {stuck} SETTINGS mutations_sync = 0")
    squash(store, NEW_YEAR)
    assert asked(store, told, run) == model(told)
    assert store.query("SELECT command FROM system.mutations WHERE database = currentDatabase() AND NOT is_done") == []


def test_two_at_once_beside_inserts_change_no_answer(store: Store) -> None:
    told = Told(HISTORY)
    run = tell(store, told)
    arrived = list(HISTORY)
    threads = [Thread(target=squash_or_be_superseded, args=(store,)) for _ in range(3)]
    for number, thread in enumerate(threads):
        thread.start()
        for more_of in range(3):
            name = number * 3 + more_of
            new = [identify(20 + name, "ABC"[more_of], f"W{name % 4}"), event(name, "C", id=f"n{name}")]
            more(store, run, *new)
            arrived += new
    for thread in threads:
        thread.join()
    assert asked(store, Told(arrived), run) == model(Told(arrived))
    squash(store, NEW_YEAR)
    assert asked(store, Told(arrived), run) == model(Told(arrived))
    assert read_short(store) == len(arrived)


def squash_or_be_superseded(store: Store) -> None:
    """A run whose scratch tables a later one took away cannot go on."""
    with suppress(StoreFailure):
        squash(store, NEW_YEAR)


def run_command(monkeypatch: pytest.MonkeyPatch, address: str, *argv: str) -> Result:
    monkeypatch.setenv("WHIPSTITCH_STORE", address)
    return CliRunner().invoke(squash_command, argv)


def test_command_tells_each_month_and_what_came_out(
    store: Store, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tell(store, Told(HISTORY))
    done = run_command(monkeypatch, address, "--before", "2026-01-01", "--project", f"{run}p")
    assert (done.exit_code, done.stderr) == (0, "squash: 1970-01 (1 of 1)\n")
    assert done.stdout == "1 month before 2026-01-01: 12 events squashed, 0 left to joins\n"
    again = run_command(monkeypatch, address, "--before", "2026-01-01", "--json")
    assert json.loads(again.stdout) == {"months": 1, "squashed": 12, "joined": 0}


def test_command_says_where_there_is_nothing_to_squash(
    store: Store, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run_command(monkeypatch, address, "--before", "2026-01-01")
    assert (done.exit_code, done.stdout) == (0, "nothing to squash: no month with events ended before 2026-01-01\n")


def test_command_refuses_a_date_that_is_not_past(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_command(monkeypatch, "http://127.0.0.1:1", "--before", "2999-01-01")
    assert (done.exit_code, "must not lie in the future" in done.stderr) == (2, True)
