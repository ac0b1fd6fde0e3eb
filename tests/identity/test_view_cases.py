"""The views of the store against the worked cases: rows of the pipeline's own pure steps, in many orders of arrival."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from store.client import Store
from tests.fixtures.clickhouse import MODERN, NO_MODERN
from tests.identity import model
from tests.identity.cases import CASES, FIVE, Case
from tests.identity.messages import identify, record, track
from tests.identity.pure import Delivery
from tests.identity.view import Stored, Views, put, read_as_of, read_traits, read_views
from tests.identity.workloads import Workload
from tests.rows import migrated

DELIVERIES = [Delivery(), *(Delivery(seed, 4, again=0.3, crashes=seed % 2 == 0) for seed in range(12))]


@dataclass(frozen=True)
class Shelf:
    """All cases in the store, each as often as there are deliveries, and what the views show."""

    store: Store
    stored: dict[str, list[Stored]]
    views: Views
    traits: dict[str, dict[UUID, dict[str, Any]]]


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("modern", marks=pytest.mark.skipif(not MODERN, reason=NO_MODERN))]
)
def shelf(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    url = MODERN if request.param == "modern" else f"{request.getfixturevalue('store_url')}/identity_cases"
    with migrated(url) as store:
        workloads = [(Workload(case.messages), how) for case in CASES for how in DELIVERIES]
        stored = put(store, "cases", workloads)
        by_case = {case.name: stored[n * len(DELIVERIES) : (n + 1) * len(DELIVERIES)] for n, case in enumerate(CASES)}
        yield Shelf(store, by_case, read_views(store, "cases"), read_traits(store, "cases"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_worked_case_in_any_order_of_arrival(shelf: Shelf, case: Case) -> None:
    for stored in shelf.stored[case.name]:
        seen = stored.seen(shelf.views)["p"]
        assert {id: seen.who[id][0] for id in case.who} == case.who
        assert {key: seen.edges[key] for key in case.edges} == case.edges
        for users in case.persons:
            assert [seen.persons.get(user, (user, "alone"))[0] for user in users] == [users[0]] * len(users)
        assert seen.who == stored.resolved()["p"].who
        assert seen.rows == len(seen.who)


@pytest.mark.parametrize("case", [case for case in CASES if case.traits], ids=lambda case: case.name)
def test_traits_are_those_of_the_case(shelf: Shelf, case: Case) -> None:
    for stored in shelf.stored[case.name]:
        project = f"{stored.prefix}p"
        for user, expected in case.traits.items():
            assert shelf.traits[project][model.person_id(project, user, None, "")] == expected


def test_as_of_is_what_the_messages_received_until_then_say(shelf: Shelf) -> None:
    """Case 23, moment by moment: two persons, and in the end one."""
    [case] = [case for case in CASES if case.name.startswith("23")]
    for at_ms in [record(message).timestamp for message in case.messages]:
        views = read_as_of(shelf.store, "cases", at_ms)
        for stored in shelf.stored[case.name]:
            assert stored.seen(views)["p"].who == stored.resolved(at_ms)["p"].who


def test_as_of_of_worked_case(shelf: Shelf) -> None:
    """Case 5, by hand."""
    [case] = [case for case in CASES if case.messages == FIVE]
    known = []
    for message in FIVE:
        seen = shelf.stored[case.name][0].seen(read_as_of(shelf.store, "cases", record(message).timestamp))
        known.append({id: user for id, (user, _) in seen["p"].who.items()})
    assert known == [
        {"e1": None},
        {"e1": "U1", "i2": "U1"},
        {"e1": "U1", "i2": "U1", "e3": "U1"},
        {"e1": "U1", "i2": "U1", "e3": "U1", "i5": "U2"},
        {"e1": "U1", "i2": "U1", "e3": "U1", "i5": "U2", "e6": "U2"},
    ]


@pytest.mark.parametrize("partitions", [1, 32])
def test_repeat_about_another_anonymous_id_says_nothing(shelf: Shelf, partitions: int) -> None:
    """The first receipt of a message counts alone, also where it says nothing of who is who."""
    messages = (track("m", 1, "A"), identify("m", 2, "B", "U"), track("e3", 3, "B"))
    run = f"repeat{partitions}."
    [stored] = put(shelf.store, run, [(Workload(messages), Delivery(partitions=partitions))])
    seen = stored.seen(read_views(shelf.store, run))["p"]
    assert {id: user for id, (user, _) in seen.who.items()} == {"m": None, "e3": None}
    assert seen.links == set()
