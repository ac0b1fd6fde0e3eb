"""Who is meant by an id, what Kafka is told of a person, and what it keeps."""

import json
from uuid import UUID

import pytest
from click.testing import CliRunner

from broker.worker_progress import Standing
from cli.forget import forget
from pipeline.directory import Directory
from pipeline.forget import (
    NOBODY,
    CannotTell,
    Chosen,
    Edge,
    Known,
    Person,
    choose,
    edge_tombstones,
    forget_records,
    kept,
    person_ids,
    tombstones,
)
from pipeline.person import person_id
from pipeline.settings import load
from tests.records import TestRecord
from topics import control, edges
from topics.control import Forgotten
from topics.edges import EdgeAction, EdgeFact, EdgeKind
from topics.keys import partition_of
from topics.names import IDENTITY_CHANGELOG, LINKS, MERGES, PROJECTS, RAW, STITCHED
from topics.orders import Forget, read_order

SOMEBODY = Person("p", (person_id("p", "U1", None),), ("U1", "U2"), ("A", "B"), None, 1000)
GONE = Forgotten("p", str(person_id("p", "U1", None)), 1000)


@pytest.mark.parametrize(
    ("known", "kind", "expected"),
    [
        (Known(as_user="U2"), None, Chosen("U2", None)),
        (Known(owners=frozenset()), None, Chosen(None, "id")),
        (Known(owners=frozenset({"U2"})), None, Chosen("U2", "id")),
        (Known("U2", frozenset({"U2"})), None, Chosen("U2", None)),
        (Known("U1", frozenset({"U2"})), "user", Chosen("U1", None)),
        (Known("U1", frozenset({"U2"})), "anonymous", Chosen("U2", "id")),
    ],
)
def test_one_person_is_chosen_by_an_id(known: Known, kind: str | None, expected: Chosen) -> None:
    assert choose("id", known, kind) == expected


@pytest.mark.parametrize(
    ("known", "kind", "says"),
    [
        (NOBODY, None, "nobody is known by the id 'id'"),
        (Known(owners=frozenset()), "user", "nobody is known by the user id 'id'"),
        (Known(as_user="U"), "anonymous", "nobody is known by the anonymous id 'id'"),
        (Known("U1", frozenset({"U2"})), None, "say --user or --anonymous"),
        (Known("U1", frozenset()), None, "say --user or --anonymous"),
        (Known(owners=frozenset({"U2", "U1"})), None, "by user id: U1, U2"),
    ],
)
def test_where_no_one_person_is_meant_it_says_what_to_do(known: Known, kind: str | None, says: str) -> None:
    with pytest.raises(CannotTell, match=says):
        choose("id", known, kind)


def test_what_an_anonymous_id_did_as_nobody_goes_with_the_user_it_became() -> None:
    assert person_ids("p", Chosen("U", "A")) == (person_id("p", "U", None), person_id("p", None, "A"))
    assert person_ids("p", Chosen("U", None)) == (person_id("p", "U", None),)


def test_workers_are_told_on_the_partition_of_each_anonymous_id() -> None:
    told = forget_records(SOMEBODY, partitions=8, now_ms=5)
    records = {key: (partition, value) for partition, records in told.items() for key, value, _, _ in records}
    assert {key: partition for key, (partition, _) in records.items()} == {
        key: partition_of(key, 8) for key in (b"p|a:A", b"p|a:B")
    }
    orders = [read_order(TestRecord(value)) for _, value in records.values()]
    assert {order.user_ids for order in orders if isinstance(order, Forget)} == {("U1", "U2")}


def test_of_somebody_who_was_never_a_user_workers_are_told_nothing() -> None:
    assert forget_records(Person("p", (UUID(int=1),), (), ("A",), "A", 1000), partitions=8, now_ms=5) == {}


def test_facts_that_tie_users_are_taken_away_by_their_own_keys() -> None:
    fact = EdgeFact("p", EdgeKind.ALIAS, EdgeAction.JOIN, "U1", "U2", 1.0, "m", 1_790_000_000.123)
    told = edge_tombstones("p", [Edge("m", 1_790_000_000_123)], partitions=8, now_ms=5)
    assert told == {partition_of(b"p", 8): [(edges.record_key(fact), None, 5, ())]}
    assert edge_tombstones("p", [], partitions=8, now_ms=5) == {}


def test_all_that_is_kept_of_a_person_is_which_one_it_was() -> None:
    assert tombstones(SOMEBODY) == [GONE]
    assert json.loads(control.encode(GONE)) == {
        "type": "forgotten",
        "project_id": "p",
        "person_id": str(person_id("p", "U1", None)),
        "forgotten_at_ms": 1000,
    }


def test_directory_knows_who_was_forgotten_and_when_last() -> None:
    again = Forgotten("p", GONE.person_id, 2000)
    written = [(control.record_key(each), control.encode(each)) for each in (GONE, again)]
    directory = Directory().apply(written)
    assert directory.forgotten == {f"p/{GONE.person_id}": again}
    assert (directory.keys, directory.projects, directory.unreadable) == ({}, {}, {})
    assert directory.apply([(control.record_key(GONE), None)]).forgotten == {}


def test_every_topic_that_names_people_is_told_with_the_end_of_its_retention() -> None:
    told = {each.topic: each for each in kept(load({}, raw_retention_s=3600), now_ms=1000)}
    assert told[RAW].until_ms == told[STITCHED].until_ms == told[LINKS].until_ms == 3_601_000
    assert told[MERGES].is_compacted
    assert told[IDENTITY_CHANGELOG].is_compacted
    assert PROJECTS not in told


def test_workers_stand_still_when_what_is_left_has_not_changed_for_long() -> None:
    standing = Standing(behind=5, since_s=100.0)
    assert standing.after(5, 109.0) is standing
    assert not standing.stands_still(109.0, 10.0)
    assert standing.stands_still(111.0, 10.0)
    assert not standing.after(4, 109.0).stands_still(111.0, 10.0)


def test_without_a_terminal_it_must_be_told_to_go_on() -> None:
    result = CliRunner().invoke(forget, ["ann", "--project", "p"])
    assert result.exit_code == 2
    assert "say --yes, or --dry-run" in result.stderr


def test_help_has_an_example() -> None:
    assert "whipstitch forget ann --project default" in CliRunner().invoke(forget, ["--help"]).stdout
