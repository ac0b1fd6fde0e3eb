"""The pipeline's own pure steps against the worked cases and the model, on any number of partitions."""

import pytest

from tests.identity import model
from tests.identity.agreement import assert_agrees, kept_events, known_persons, model_persons
from tests.identity.cases import CASES, Case
from tests.identity.messages import alias, identify, record, track, unalias
from tests.identity.pure import Delivery, deliver

DELIVERIES = [
    Delivery(seed=seed, partitions=partitions, again=0.3, crashes=crashes)
    for partitions in (1, 2, 7, 32)
    for seed, crashes in ((1, False), (2, False), (3, True), (4, True))
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_worked_case_however_it_is_delivered(case: Case) -> None:
    records = [record(message) for message in case.messages]
    for how in (Delivery(), *DELIVERIES):
        tables = deliver(records, {}, how)
        assert_agrees(tables, records, {})
        assert tables.letters - {("i3", "already_merged")} == case.letters


@pytest.mark.parametrize("case", [case for case in CASES if case.written], ids=lambda case: case.name)
@pytest.mark.parametrize("partitions", [1, 2, 7, 32])
def test_user_at_write_time_is_that_of_the_case(case: Case, partitions: int) -> None:
    tables = deliver(map(record, case.messages), {}, Delivery(partitions=partitions))
    written = {id: event.stitched_user_id for (_, id), event in kept_events(tables).items()}
    assert {id: written[id] for id in case.written} == case.written


def test_identify_of_a_merged_anonymous_id_is_told_of() -> None:
    """Case 30: it was known when the second came."""
    [case] = [case for case in CASES if case.name == "30 merged to another already"]
    tables = deliver(map(record, case.messages), {}, Delivery())
    assert tables.letters == {("i3", "already_merged")}


def test_blocked_previous_id_leaves_the_other_two_ids_linked() -> None:
    records = [record(track("e1", 1, "A")), record(alias("a2", 2, "null", "U", anonymous="A"))]
    assert_agrees(deliver(records, {}, Delivery()), records, {})


def test_alias_is_taken_back_also_by_a_message_of_that_anonymous_id() -> None:
    records = [record(alias("a1", 1, "A", "U")), record(unalias("b2", 2, "A", "U", anonymous="A"))]
    assert_agrees(deliver(records, {}, Delivery()), records, {})


@pytest.mark.xfail(strict=True, reason="the worker drops an earlier receipt that the topic holds behind a later one")
def test_later_receipt_that_the_topic_holds_first_gives_way_to_the_earliest() -> None:
    """Case 25: two ingresses may publish in another order than they received."""
    records = [record(track("m", 1, "A", "U2", received=9, event="Other")), record(track("m", 1, "A", "U1"))]
    assert_agrees(deliver(records, {}, Delivery()), records, {})


@pytest.mark.parametrize(
    "partitions",
    [1, pytest.param(32, marks=pytest.mark.xfail(strict=True, reason="the merge agent sees edges, and no events"))],
)
def test_repeat_under_another_anonymous_id_ties_nobody(partitions: int) -> None:
    """The first receipt of a message counts alone, also where it says nothing of who is who."""
    records = [record(track("m", 1, "A")), record(alias("m", 2, "u", "v", anonymous="B"))]
    tables = deliver(records, {}, Delivery(partitions=partitions))
    assert known_persons(tables) == model_persons(model.resolve(records)) == {}


@pytest.mark.xfail(strict=True, reason="the table of owners is durable before the events that it is asked for")
def test_crash_before_the_events_are_published_changes_no_user_at_write_time() -> None:
    """An event is not told of a fact that lies behind it in the topic, also where its batch is decided twice."""
    records = [record(track("e1", 1, "A")), record(identify("i2", 2, "A", "U"))]
    expected = model.stitched(records)
    for seed in range(50):
        tables = deliver(records, {}, Delivery(partitions=1, crashes=True, seed=seed, keeps_order=True))
        assert {key: tables.written()[key] for key in expected} == expected
