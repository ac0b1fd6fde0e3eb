"""What holds of any messages, seen through the views of the store: all random workloads stand in it at once.

The names begin with the numbers of the invariants; `test_properties.py` has those that are about how messages come.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.fixtures.clickhouse import MODERN, NO_MODERN
from tests.identity import model
from tests.identity.agreement import model_links
from tests.identity.messages import received_ms
from tests.identity.shelf import (
    Placed,
    Shelf,
    filled,
    hold,
    with_a_fact_more,
    with_blocked_ids,
    without_the_other_project,
)
from tests.rows import migrated


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("modern", marks=pytest.mark.skipif(not MODERN, reason=NO_MODERN))]
)
def shelf(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    url = MODERN if request.param == "modern" else f"{request.getfixturevalue('store_url')}/identity"
    with migrated(url) as store:
        yield filled(store, share=0.5)


def test_view_says_who_did_each_event_as_the_model_does(shelf: Shelf) -> None:
    def claim(shelf: Shelf, placed: Placed) -> None:
        seen, resolved = placed.stored.seen(shelf.views), placed.stored.resolved()
        for project in seen:
            assert seen[project].who == resolved[project].who

    hold(shelf, claim)


def test_view_says_which_users_are_one_person_as_the_model_does(shelf: Shelf) -> None:
    def claim(shelf: Shelf, placed: Placed) -> None:
        seen, resolved = placed.stored.seen(shelf.views), placed.stored.resolved()
        for project in seen:
            joined = {user: known for user, known in resolved[project].persons.items() if known[1] != "alone"}
            assert seen[project].persons == joined
            assert seen[project].edges == resolved[project].edges

    hold(shelf, claim)


def test_ties_that_do_not_count_are_told_of(shelf: Shelf) -> None:
    def claim(shelf: Shelf, placed: Placed) -> None:
        seen, resolved = placed.stored.seen(shelf.views), placed.stored.resolved()
        for project, said in resolved.items():
            conflicts = {
                ("conflict", one, other) for (_, one, other), state in said.edges.items() if state == "conflict"
            }
            suspended = {("suspended", user, None) for user, known in said.persons.items() if known[1] == "suspended"}
            assert seen[project].conflicts == conflicts | suspended

    hold(shelf, claim)


def test_view_as_of_a_moment_says_what_the_model_says_of_the_messages_until_then(shelf: Shelf) -> None:
    def claim(shelf: Shelf, placed: Placed) -> None:
        for at_ms, views in shelf.as_of.items():
            seen, resolved = placed.stored.seen(views), placed.stored.resolved(at_ms)
            for project in seen:
                assert seen[project].who == resolved[project].who

    hold(shelf, claim)


def test_6_own_user_of_an_event_wins(shelf: Shelf) -> None:
    def claim(shelf: Shelf, placed: Placed) -> None:
        for project, seen in placed.stored.seen(shelf.views).items():
            for event in placed.stored.resolved()[project].events.values():
                if event.user is not None:
                    canonical = seen.persons.get(event.user, (event.user, ""))[0]
                    assert seen.who[event.id][0] == canonical
                    assert seen.written[event.id] == event.user

    hold(shelf, claim)


def test_7_two_users_are_one_person_exactly_where_edges_that_count_join_them(shelf: Shelf) -> None:
    def claim(shelf: Shelf, placed: Placed) -> None:
        for seen in placed.stored.seen(shelf.views).values():
            counting = [set(users) for (_, *users), state in seen.edges.items() if state == "counts"]
            users = {user for users in counting for user in users} | set(seen.persons)
            for user in users:
                together = {user}
                while grown := {name for edge in counting if edge & together for name in edge} - together:
                    together |= grown
                canonical = seen.persons.get(user, (user, ""))[0]
                assert {other for other in users if seen.persons.get(other, (other, ""))[0] == canonical} == together

    hold(shelf, claim)


def test_8_fact_about_an_anonymous_id_changes_its_own_events_alone(shelf: Shelf) -> None:
    def claim(shelf: Shelf, placed: Placed) -> None:
        before, after = placed.stored.seen(shelf.views)["p"], placed.twin.seen(shelf.views)["p"]
        for event in placed.stored.resolved()["p"].events.values():
            if event.anonymous != "A" or event.user is not None:
                assert after.who[event.id][0] == before.who[event.id][0]
        assert after.persons == before.persons

    hold(shelf, claim, shelf.with_twins(with_a_fact_more))


def test_9_blocked_id_changes_nobody_else(shelf: Shelf) -> None:
    def claim(shelf: Shelf, placed: Placed) -> None:
        before, after = placed.stored.seen(shelf.views)["p"], placed.twin.seen(shelf.views)["p"]
        assert {id: after.who[id][0] for id in before.who} == {id: user for id, (user, _) in before.who.items()}
        assert (after.persons, after.edges) == (before.persons, before.edges)
        assert {link[1:] for link in after.links} == {link[1:] for link in before.links}

    hold(shelf, claim, shelf.with_twins(with_blocked_ids))


def test_10_projects_never_touch(shelf: Shelf) -> None:
    def claim(shelf: Shelf, placed: Placed) -> None:
        both, alone = placed.stored.seen(shelf.views), placed.twin.seen(shelf.views)
        assert {id: user for id, (user, _) in alone["p"].who.items()} == {
            id: user for id, (user, _) in both["p"].who.items()
        }
        assert alone["p"].persons == both["p"].persons
        assert alone["q"].rows == 0

    hold(shelf, claim, shelf.with_twins(without_the_other_project))


def test_11_raw_is_what_the_client_sent(shelf: Shelf) -> None:
    def claim(shelf: Shelf, placed: Placed) -> None:
        sent = {
            (message.project, message.id, received_ms(message)): (record.value or b"").decode()
            for message, record in zip(placed.stored.workload.messages, placed.stored.records(), strict=True)
        }
        for project, seen in placed.stored.seen(shelf.views).items():
            events = placed.stored.resolved()[project].events.values()
            assert seen.raw == {event.id: sent[project, event.id, event.received_ms] for event in events}

    hold(shelf, claim)


def test_12_every_event_is_one_row(shelf: Shelf) -> None:
    def claim(shelf: Shelf, placed: Placed) -> None:
        for project, seen in placed.stored.seen(shelf.views).items():
            assert seen.rows == len(placed.stored.resolved()[project].events)

    hold(shelf, claim)


def test_13_links_are_those_that_the_events_state(shelf: Shelf) -> None:
    def claim(shelf: Shelf, placed: Placed) -> None:
        seen = placed.stored.seen(shelf.views)
        resolved = {placed.stored.prefix + project: said for project, said in placed.stored.resolved().items()}
        assert set().union(*(of_project.links for of_project in seen.values())) == model_links(resolved)

    hold(shelf, claim)


def test_workloads_reach_what_is_claimed_of_them(shelf: Shelf) -> None:
    """Each rule decides something in many workloads; else the tests above would say little."""
    some = shelf.placed[:500]
    resolved = [said for placed in some for said in placed.stored.resolved().values()]
    found = Counter(state for said in resolved for state in said.edges.values())
    found.update(standing for said in resolved for _, standing in said.persons.values())
    found.update(fact.link.kind for said in resolved for fact in said.facts)
    found.update(reason for placed in some for _, reason in model.refusals(placed.stored.records()))
    for name, others in OTHER_SETTINGS.items():
        found[name] = sum(is_other_under(placed, others) for placed in some)
    expected = ["counts", "parted", "conflict", "suspended", "alone", "joined", "exact", "implicit", "first", "reset"]
    expected += ["blocked_id", "needs_secret_key", *OTHER_SETTINGS]
    assert not {name: found[name] for name in expected if found[name] < len(some) / 25}


OTHER_SETTINGS: dict[str, dict[str, Any]] = {
    "a policy": {"policy": "interval"},
    "a shared anonymous id": {"max_users_per_anonymous_id": 1000},
    "a person that is too large": {"max_users_per_person": 1000},
    "no implicit links": {"implicit_links": True},
}


def is_other_under(placed: Placed, others: dict[str, Any]) -> bool:
    """Whether its own settings make a difference."""
    settings = placed.stored.workload.settings()
    records = placed.stored.workload.records()
    changed = {id: msgspec.structs.replace(project, **others) for id, project in settings.items()}
    before, after = model.resolve(records, settings), model.resolve(records, changed)
    return any(before[project].who != after[project].who for project in before)
