"""Level 1 at write time, against the worked cases of the identity rules."""

import itertools
from typing import get_args
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from pipeline import owner_rows
from pipeline.identity import (
    NOBODY,
    Ownership,
    corrected,
    owner_always,
    owner_at,
    with_facts,
    without_users,
)
from pipeline.owner_rows import decode, encode
from topics.control import Policy
from topics.links import LinkFact, LinkKind

MAX_USERS = 10


def fact(user: str | None, at: float, kind: LinkKind = LinkKind.EXACT, message_id: str | None = None) -> LinkFact:
    return LinkFact("p", "A", user, at, message_id or f"m{at}", LinkKind.RESET if user is None else kind, at)


def after(*facts: LinkFact) -> Ownership:
    state = NOBODY
    for each in facts:
        state = with_facts(state, [each], MAX_USERS)
    return state


def owner(state: Ownership, at: float) -> str | None:
    return owner_at(state, at, "e", MAX_USERS)


CASES: dict[str, tuple[list[LinkFact], dict[float, str | None]]] = {
    "1 event before the identify": ([fact("U", 2)], {1: "U"}),
    "2 event after the identify": ([fact("U", 2)], {3: "U"}),
    "5 a second user takes over": ([fact("U1", 2), fact("U2", 5)], {1: "U1", 3: "U1", 6: "U2"}),
    "6 reset, then another user": ([fact("U1", 2), fact(None, 3), fact("U2", 5)], {4: "U2"}),
    "7 reset, then nobody": ([fact("U1", 2), fact(None, 3)], {4: None}),
    "8 back to the first user": ([fact("U1", 2), fact("U2", 5), fact("U1", 8)], {6: "U2", 9: "U1"}),
    "20 two identifies at one instant": (
        [fact("U1", 2, message_id="a"), fact("U2", 2, message_id="b")],
        {3: "U2"},
    ),
    "before a reset without a user": ([fact(None, 3), fact("U", 5)], {2: None, 4: "U"}),
}


@pytest.mark.parametrize("name", CASES)
def test_worked_case_in_every_order(name: str) -> None:
    facts, expected = CASES[name]
    for order in itertools.permutations(facts):
        assert {at: owner(after(*order), at) for at in expected} == expected


def test_more_users_than_the_limit_leave_the_id_to_nobody() -> None:
    kiosk = after(*(fact(f"U{n:02}", n) for n in range(MAX_USERS + 1)))
    assert owner(kiosk, 5.5) is None
    assert owner(after(*(fact(f"U{n:02}", n) for n in range(MAX_USERS))), 5.5) == "U05"


def test_a_fact_that_is_known_changes_nothing() -> None:
    state = after(fact("U", 2), fact("U", 7, LinkKind.IMPLICIT))
    assert with_facts(state, [fact("U", 2)], MAX_USERS) is state
    assert with_facts(state, [fact("U", 9, LinkKind.IMPLICIT)], MAX_USERS) is state


def test_an_earlier_implicit_fact_of_the_same_half_hour_takes_the_place_of_the_later() -> None:
    state = after(fact("U", 100, LinkKind.IMPLICIT), fact("U", 50, LinkKind.IMPLICIT))
    assert [point.timestamp for point in state.points] == [50]


def test_state_stays_bounded() -> None:
    state = after(*(fact(f"U{n % 3}", n * 10_000) for n in range(1000)))
    assert len(state.points) == 16


any_facts = st.builds(
    fact,
    user=st.sampled_from([None, "U1", "U2", "U3"]),
    at=st.integers(0, 12).map(lambda n: n * 600.0),
    kind=st.sampled_from([LinkKind.EXACT, LinkKind.IMPLICIT]),
    message_id=st.none(),
)


distinct_facts = st.lists(any_facts, max_size=12, unique_by=lambda each: each.message_id)


@given(distinct_facts.flatmap(lambda each: st.tuples(st.just(each), st.permutations(each))))
def test_the_order_of_arrival_does_not_matter(both: tuple[list[LinkFact], list[LinkFact]]) -> None:
    given_order, other_order = both
    assert after(*given_order) == after(*other_order)


@given(st.lists(any_facts, min_size=1, max_size=8), st.sampled_from(get_args(Policy)), st.integers(1, 3))
def test_who_always_did_it_did_it_at_every_moment(each: list[LinkFact], policy: Policy, max_users: int) -> None:
    state = after(*each)
    always = owner_always(state, max_users)
    moments = {fact.timestamp + late for fact in each for late in (-0.5, 0, 0.5)}
    found = {owner_at(state, at, "e", max_users, policy) for at in moments}
    assert always is UNSET or found == {always}


def test_nobody_ever_did_what_an_unknown_id_did() -> None:
    assert owner_always(NOBODY, MAX_USERS) is None


@given(st.lists(any_facts, max_size=8))
def test_state_survives_its_encoding(each: list[LinkFact]) -> None:
    state = after(*each)
    row = encode(state)
    assert decode(row) is state
    with patch.object(owner_rows, "_at_hand", {}):
        assert decode(row) == state


def test_only_the_rows_of_late_are_at_hand() -> None:
    state = after(fact("U1", 2))
    row = encode(state)
    for at in range(owner_rows._MOST_AT_HAND):
        encode(after(fact("U2", at)))
    assert decode(row) is not state
    assert decode(row) == state


def test_a_correction_takes_points_out_and_puts_others_in() -> None:
    state = after(fact("U1", 2), fact("U2", 5))
    assert corrected(state, [(2.0, "m2")], [fact("U3", 1)], MAX_USERS) == after(fact("U2", 5), fact("U3", 1))
    assert corrected(state, [(2.0, "m2"), (5.0, "m5")], [], MAX_USERS) is NOBODY


def test_an_id_that_knows_no_other_user_is_forgotten_with_its_resets() -> None:
    assert without_users(after(fact("U1", 2), fact(None, 3)), ["U1"]) is NOBODY
    assert without_users(after(fact("U1", 2), fact("U2", 3)), ["U1"]) == after(fact("U2", 3))


many_facts = st.builds(
    fact,
    user=st.sampled_from([None, "U1", "U2"]),
    at=st.integers(0, 40).map(lambda n: n * 450.0),
    kind=st.sampled_from([LinkKind.EXACT, LinkKind.IMPLICIT, LinkKind.IMPLICIT, LinkKind.FIRST]),
    message_id=st.none(),
)


@given(
    st.lists(many_facts, min_size=18, max_size=40, unique_by=lambda each: each.message_id).flatmap(
        lambda each: st.tuples(st.just(each), st.permutations(each))
    )
)
def test_the_order_does_not_matter_where_there_are_more_facts_than_are_kept(
    both: tuple[list[LinkFact], list[LinkFact]],
) -> None:
    given_order, other_order = both
    assert after(*given_order) == after(*other_order)


@given(st.lists(many_facts, max_size=40, unique_by=lambda each: each.message_id), st.lists(st.integers(1, 40)))
def test_facts_come_in_whatever_pieces(facts: list[LinkFact], pieces: list[int]) -> None:
    state, rest = NOBODY, facts
    for size in pieces:
        state, rest = with_facts(state, rest[:size], MAX_USERS), rest[size:]
    assert with_facts(state, rest, MAX_USERS) == after(*facts)
