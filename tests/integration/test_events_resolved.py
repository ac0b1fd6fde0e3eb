"""Who did each event: the view `events_resolved_v` against worked cases, and against a model that recomputes all of it
from the set of messages."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.client import Store
from tests.fixtures.clickhouse import MODERN, NO_MODERN
from tests.resolving import (
    EACH_POLICY,
    Message,
    Step,
    Told,
    any_kiosk,
    any_message,
    any_step,
    asked,
    distinct_receipts,
    distinct_steps,
    event,
    first,
    identify,
    model,
    reset,
    resolved,
    tell,
    to_each_project,
)
from tests.rows import migrated


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("modern", marks=pytest.mark.skipif(not MODERN, reason=NO_MODERN))]
)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with migrated(
        MODERN if request.param == "modern" else f"{request.getfixturevalue('store_url')}/resolved"
    ) as opened:
        yield opened


CASES: dict[str, tuple[list[Message], dict[str, str | None]]] = {
    "1 identify after": ([event(1), identify(2, "A", "U")], {"01e": "U"}),
    "2 identify before": ([identify(2, "A", "U"), event(3)], {"03e": "U"}),
    "4 two devices": (
        [event(1, "A"), event(2, "B"), identify(3, "A", "U"), identify(4, "B", "U")],
        {"01e": "U", "02e": "U"},
    ),
    "5 the next user keeps the past of the first": (
        [event(1), identify(2, "A", "U1"), event(3), identify(5, "A", "U2"), event(6)],
        {"01e": "U1", "03e": "U1", "06e": "U2"},
    ),
    "6 reset, then another": (
        [identify(2, "A", "U1"), reset(3), event(4), identify(5, "A", "U2")],
        {"04e": "U2", "03x": "U2"},
    ),
    "7 reset, then nobody": ([identify(2, "A", "U1"), reset(3), event(4)], {"04e": None, "03x": None}),
    "8 back again": (
        [identify(2, "A", "U1"), identify(5, "A", "U2"), identify(8, "A", "U1"), event(6), event(9)],
        {"06e": "U2", "09e": "U1"},
    ),
    "9 own user wins": ([identify(1, "A", "U1"), event(2, "A", "U2")], {"02e": "U2", "01iAU1": "U1"}),
    "10 implicit": ([event(1), event(2, "A", "U")], {"01e": "U"}),
    "20 same instant: the larger messageId is later": (
        [
            identify(5, "A", "U2", id="b"),
            identify(5, "A", "U1", id="d"),
            *(event(5, id=name) for name in "ace"),
            event(4),
            event(6),
        ],
        {"04e": "U2", "a": "U2", "c": "U2", "e": "U1", "06e": "U1"},
    ),
    "20 before the point of the same instant": (
        [identify(1, "A", "U1"), identify(5, "A", "U2", id="m"), event(5, id="a"), event(5, id="z")],
        {"a": "U1", "z": "U2"},
    ),
    "25 a repeat says nothing, about whichever id": (
        [event(1, "B"), identify(2, "A", "U", id="m"), replace(identify(2, "B", "U", id="m"), received_at=101)],
        {"01e": None, "m": "U"},
    ),
    "22 kiosk": (
        [identify(number, "K", f"U{number}") for number in range(11)] + [event(20, "K"), event(21, "K", "U3")],
        {"20e": None, "21e": "U3"},
    ),
    "22 ten users are no kiosk": (
        [identify(number, "K", f"U{number}") for number in range(10)] + [event(20, "K")],
        {"20e": "U9"},
    ),
    "two resets before a user": (
        [event(1), reset(2), event(3), reset(4), event(5), identify(6, "A", "U")],
        {"01e": None, "03e": None, "05e": "U"},
    ),
    "a reset alone": ([event(1), reset(2), event(3)], {"01e": None, "03e": None}),
    "25 a repeat makes no fact where the message made none": (
        [event(1, "A", id="m"), replace(identify(2, "B", "U", id="m"), received_at=101), event(3, "B")],
        {"m": None, "03e": None},
    ),
    "30 mixpanel's identify counts as the earliest": (
        [event(1), first(2, "A", "U1"), first(3, "A", "U2"), event(4)],
        {"01e": "U1", "04e": "U1", "03fAU2": "U2"},
    ),
    "30 and not at all after another": (
        [identify(2, "A", "U1"), first(3, "A", "U2"), event(4), reset(5), first(6, "A", "U2"), event(7)],
        {"04e": "U1", "07e": None},
    ),
    "neither id": ([event(1, None)], {"01e": None}),
    "before 1970": ([event(0), identify(1, "A", "U"), reset(2), identify(3, "A", "V")], {"00e": "U"}),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("messages", "expected"), CASES.values(), ids=CASES.keys())
def test_worked_case_in_any_order_of_arrival(
    store: Store, messages: list[Message], expected: dict[str, str | None], seed: int
) -> None:
    arrived = random.Random(seed).sample(messages, len(messages)) if seed else messages
    answer = resolved(store, Told(arrived))["p"]
    assert {name: answer[name] for name in expected} == expected
    assert answer == model(Told(messages))["p"]


def test_projects_never_touch(store: Store) -> None:
    """Case 26."""
    there = replace(identify(2, "A", "U"), project="other")
    assert resolved(store, Told([event(1), there])) == {"p": {"01e": None}, "other": {there.id: "U"}}


@settings(max_examples=12)
@given(
    arrived=st.lists(any_message, min_size=1, max_size=20),
    shared=st.one_of(st.just([]), st.just([]), any_kiosk),
    arrived_steps=st.lists(any_step, max_size=3),
    as_of=st.integers(99, 130),
    again=st.randoms(),
)
def test_view_equals_the_model_for_any_messages_in_any_order(
    store: Store,
    arrived: list[Message],
    shared: list[Message],
    arrived_steps: list[Step],
    as_of: int,
    again: random.Random,
) -> None:
    distinct = to_each_project(distinct_receipts(arrived + shared))
    arrived_steps = [replace(each, project=name) for each in distinct_steps(arrived_steps) for name in EACH_POLICY]
    delivered = distinct + again.sample(distinct, len(distinct) // 3)
    again.shuffle(delivered)
    told = Told(delivered, arrived_steps, EACH_POLICY)
    expected = replace(told, messages=distinct)
    run = tell(store, told)
    assert asked(store, told, run) == model(expected)
    assert asked(store, told, run, as_of) == model(expected, as_of)
