"""The diff of a replay: two databases of one store, filled by hand, and what is said of how they differ."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from replay.diff import Group, Report, diff
from replay.sides import Sides
from store.client import Store, open_store
from store.migrate import migrate
from store.tables import EDGES, EVENTS, LINKS, PERSONS, REJECTED
from tests.rows import RECEIVED_AT_S, edge_row, event_row, link_row, person_row

FROM_MS = round(RECEIVED_AT_S * 1000) - 1000
TO_MS = FROM_MS + 3_600_000
AFTER_S = TO_MS / 1000 + 1
TABLES = (EVENTS, LINKS, EDGES, PERSONS, REJECTED)
_names = count()


@dataclass
class Pair:
    """A live database and a shadow beside it."""

    live: Store
    shadow: Store
    sides: Sides

    def both(self, table: str, *rows: bytes) -> None:
        self.live.insert(table, rows, str(uuid4()))
        self.shadow.insert(table, rows, str(uuid4()))

    def diff(self, **given: Any) -> Report:
        return diff(self.live, self.shadow, self.sides, silently, **given)

    def sides_of(self, project_id: str) -> Sides:
        return Sides(self.sides.live, self.sides.shadow, FROM_MS, TO_MS, project_id)


@contextmanager
def silently(doing: str) -> Iterator[Callable[[int], None]]:
    yield lambda left: None


@pytest.fixture(scope="module")
def made(store_url: str) -> Iterator[Pair]:
    live, shadow = f"diff_{next(_names)}", f"diff_{next(_names)}"
    stores = [open_store(f"{store_url}/{name}") for name in (live, shadow)]
    for store in stores:
        migrate(store)
    yield Pair(stores[0], stores[1], Sides(live, shadow, FROM_MS, TO_MS))
    for store, name in zip(stores, (live, shadow), strict=True):
        store.command(f"DROP DATABASE {name} SYNC")
        store.close()


@pytest.fixture
def pair(made: Pair) -> Pair:
    for store in (made.live, made.shadow):
        for table in TABLES:
            store.command(f"TRUNCATE TABLE {table}")
    return made


def letter(**given: Any) -> bytes:
    columns = {
        "project_id": "p",
        "message_id": "m",
        "received_at": RECEIVED_AT_S,
        "raw": "{}",
        "reason": "no_event_name",
        "detail": "",
        "rejected_at": RECEIVED_AT_S,
        "step": "validate",
        "source_topic": "events.raw",
        "source_partition": 0,
        "source_offset": 0,
        "record_key": "",
        "headers": {},
        **given,
    }
    return json.dumps(columns).encode()


def test_equal_tables_have_an_empty_diff_and_leave_no_scratch_table(pair: Pair) -> None:
    pair.both(EVENTS, *(event_row(message_id=f"m{n}", properties={"n": n}) for n in range(50)))
    pair.both(LINKS, link_row())
    pair.both(EDGES, edge_row())
    pair.both(REJECTED, letter())
    before = tables_of(pair)
    report = pair.diff(rows_at_once=7)
    assert report.is_empty
    assert [*report.events, *report.samples, *report.columns] == []
    assert tables_of(pair) == before


def test_new_gone_and_changed_rows_are_counted_by_project_and_event_name(pair: Pair) -> None:
    pair.both(EVENTS, event_row(message_id="same"))
    pair.live.insert(EVENTS, [event_row(message_id="gone"), event_row(message_id="c", event_name="Old")], "1")
    pair.shadow.insert(EVENTS, [event_row(message_id="c", event_name="New")], "2")
    pair.shadow.insert(EVENTS, [event_row(message_id="new", event_name=None, type="page", project_id="q")], "3")
    report = pair.diff()
    assert report.events == [
        Group("p", "Old", new=0, gone=0, changed=1),
        Group("p", "Viewed", new=0, gone=1, changed=0),
        Group("q", "page", new=1, gone=0, changed=0),
    ]
    assert report.totals["events"] == Group("", "", new=1, gone=1, changed=1)


def test_change_names_exactly_the_columns_that_differ_and_samples_what_they_were_and_are(pair: Pair) -> None:
    pair.live.insert(EVENTS, [event_row(properties={"plan": "x", "n": 1}, user_id=None, raw={"a": 1})], "1")
    pair.shadow.insert(EVENTS, [event_row(properties={"n": 2, "plan": "x"}, user_id="U", raw={"a": 1})], "2")
    report = pair.diff()
    assert [(each.column, each.rows) for each in report.columns] == [("properties", 1), ("user_id", 1)]
    [sample] = report.samples
    assert sample.kind == "changed"
    assert dict(sample.columns) == {
        "properties": ('{"n":1,"plan":"x"}', '{"n":2,"plan":"x"}'),
        "user_id": (None, "U"),
    }


def test_a_text_that_is_empty_differs_from_none(pair: Pair) -> None:
    pair.live.insert(EVENTS, [event_row(session_id=None)], "1")
    pair.shadow.insert(EVENTS, [event_row(session_id="")], "2")
    assert [each.column for each in pair.diff().columns] == ["session_id"]


def test_rows_outside_the_range_and_of_other_projects_are_not_compared(pair: Pair) -> None:
    pair.live.insert(EVENTS, [event_row(message_id="later", received_at=AFTER_S), event_row(project_id="q")], "1")
    report = diff(pair.live, pair.shadow, pair.sides_of("p"), silently)
    assert report.is_empty


def test_repeats_of_a_row_count_once(pair: Pair) -> None:
    for token in "123":
        pair.live.insert(EVENTS, [event_row(message_id="gone")], token)
    assert pair.diff().totals["events"].gone == 1


@pytest.mark.parametrize("rows_at_once", [1, 16, 200_000])
def test_every_difference_is_found_however_small_the_slices(pair: Pair, rows_at_once: int) -> None:
    pair.both(EVENTS, *(event_row(message_id=f"same{n}") for n in range(30)))
    pair.live.insert(EVENTS, [event_row(message_id=f"gone'{n}\\") for n in range(20)], "1")
    pair.shadow.insert(EVENTS, [event_row(message_id=f"nëw{n}") for n in range(20)], "2")
    total = pair.diff(rows_at_once=rows_at_once).totals["events"]
    assert (total.new, total.gone, total.changed) == (20, 20, 0)


def test_samples_are_few_for_each_kind_of_difference(pair: Pair) -> None:
    pair.live.insert(EVENTS, [event_row(message_id=f"g{n}") for n in range(9)], "1")
    pair.shadow.insert(EVENTS, [event_row(message_id=f"n{n}") for n in range(9)], "2")
    assert [each.message_id for each in pair.diff(samples_each=2).samples] == ["g0", "g1", "n0", "n1"]


def test_dead_letters_that_would_pass_now_and_events_that_would_not_are_told_apart(pair: Pair) -> None:
    pair.live.insert(REJECTED, [letter(message_id="passes")], "1")
    pair.shadow.insert(EVENTS, [event_row(message_id="passes")], "2")
    pair.live.insert(EVENTS, [event_row(message_id="refused")], "3")
    pair.shadow.insert(REJECTED, [letter(message_id="refused", source_offset=1, reason="too_large")], "4")
    pair.both(REJECTED, letter(message_id="still", source_offset=2))
    report = pair.diff()
    assert [(each.fate, each.reason, each.messages, list(each.examples)) for each in report.turned] == [
        ("passes", "no_event_name", 1, ["passes"]),
        ("refused", "too_large", 1, ["refused"]),
    ]
    assert report.letters == [Group("p", "no_event_name", 0, 1, 0), Group("p", "too_large", 1, 0, 0)]


def test_facts_that_differ_are_counted_by_kind(pair: Pair) -> None:
    pair.live.insert(LINKS, [link_row(message_id="m1"), link_row(message_id="m2", user_id="U1")], "1")
    pair.shadow.insert(LINKS, [link_row(message_id="m2", user_id="U2")], "2")
    pair.shadow.insert(EDGES, [edge_row()], "3")
    report = pair.diff()
    assert report.links == [Group("p", "exact", new=0, gone=1, changed=1)]
    assert report.edges == [Group("p", "alias join", new=1, gone=0, changed=0)]


def test_persons_that_changed_are_told_with_their_events_of_all_history(pair: Pair) -> None:
    pair.both(EVENTS, event_row(message_id="m", anonymous_id="A", user_id="U"))
    pair.both(EVENTS, *(event_row(message_id=f"a{n}", anonymous_id="A", received_at=AFTER_S) for n in range(5)))
    pair.both(EVENTS, event_row(message_id="other", anonymous_id="B"))
    pair.shadow.insert(LINKS, [link_row(anonymous_id="A", user_id="U")], "1")
    persons = pair.diff(rows_at_once=2).persons
    assert (persons.persons, persons.events) == (2, 5)
    assert [(move.project_id, move.before, move.after, move.events) for move in persons.moves] == [("p", None, "U", 5)]


def test_users_that_become_one_person_are_a_move(pair: Pair) -> None:
    pair.both(EVENTS, event_row(message_id="m1", user_id="U1"), event_row(message_id="m2", user_id="U2"))
    pair.shadow.insert(PERSONS, [person_row(user_id="U1", canonical_user_id="U2", since=RECEIVED_AT_S)], "1")
    pair.shadow.insert(PERSONS, [person_row(user_id="U2", canonical_user_id="U2", since=RECEIVED_AT_S)], "2")
    persons = pair.diff().persons
    assert [(move.before, move.after, move.events) for move in persons.moves] == [("U1", "U2", 1)]


def test_diff_may_be_asked_again_after_it_was_stopped(pair: Pair) -> None:
    pair.live.insert(EVENTS, [event_row(message_id="gone")], "1")
    pair.shadow.command("CREATE TABLE differing_events (left_behind String) ENGINE = Memory")
    assert pair.diff().totals["events"].gone == 1
    assert pair.diff().totals["events"].gone == 1


def tables_of(pair: Pair) -> set[tuple[str, str]]:
    sql = "SELECT database, name FROM system.tables WHERE database IN ({live:String}, {shadow:String})"
    rows = pair.live.query(sql, {"live": pair.sides.live, "shadow": pair.sides.shadow})
    return {(row["database"], row["name"]) for row in rows}
