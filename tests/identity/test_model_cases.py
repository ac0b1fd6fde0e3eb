"""The reference model against the worked cases: what the rest is held against must itself be right."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence

import pytest

from tests.identity import model
from tests.identity.cases import CASES, FIVE, Case
from tests.identity.messages import Message, alias, identify, merge, record, reset, track, unalias
from tests.records import TestRecord
from topics.control import Policy, Project

MANY = 200


def orders(messages: Sequence[Message]) -> Iterator[list[TestRecord]]:
    """Every order of arrival, or many where there are too many; a third of the messages come twice."""
    pick = random.Random(len(messages))
    records = [record(message) for message in messages]
    if math.factorial(len(records)) <= MANY:
        yield from map(list, itertools.permutations(records))
    for _ in range(MANY):
        delivered = records + pick.sample(records, len(records) // 3)
        pick.shuffle(delivered)
        yield delivered


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_worked_case_in_any_order_of_arrival(case: Case) -> None:
    for arrived in orders(case.messages):
        check(case, arrived)


def check(case: Case, arrived: Sequence[TestRecord]) -> None:
    resolved = model.resolve(arrived)["p"]
    assert {id: resolved.who[id][0] for id in case.who} == case.who
    assert {key: resolved.edges[key] for key in case.edges} == case.edges
    for users in case.persons:
        known = [resolved.persons.get(user, (user, "alone"))[0] for user in users]
        assert known == [users[0]] * len(users)
    assert model.refusals(arrived) == case.letters
    traits = {user: resolved.traits[model.person_id("p", user, None, "")] for user in case.traits}
    assert traits == case.traits


@pytest.mark.parametrize("case", [case for case in CASES if case.written], ids=lambda case: case.name)
def test_user_at_write_time_is_known_from_earlier_records_alone(case: Case) -> None:
    written = model.stitched([record(message) for message in case.messages])
    assert {id: user for (_, id, _), user in written.items() if id in case.written} == case.written


def test_one_message_three_times_is_one_row() -> None:
    """Case 24."""
    [case] = [case for case in CASES if case.name.startswith("24")]
    assert len(model.resolve(map(record, case.messages))["p"].who) == 2


def test_what_is_left_after_forgetting() -> None:
    """Case 33."""
    left = model.without(map(record, FIVE), {}, "p", "U1")["p"]
    assert {id: user for id, (user, _) in left.who.items()} == {"i5": "U2", "e6": "U2"}


def test_as_of_is_what_the_messages_received_until_then_say() -> None:
    """Case 5, moment by moment."""
    known = {}
    for message in FIVE:
        at_ms = record(message).timestamp
        known[message.id] = [user for user, _ in model.resolve(map(record, FIVE), as_of_ms=at_ms)["p"].who.values()]
    assert known == {
        "e1": [None],
        "i2": ["U1", "U1"],
        "e3": ["U1", "U1", "U1"],
        "i5": ["U1", "U1", "U1", "U2"],
        "e6": ["U1", "U1", "U1", "U2", "U2"],
    }


POLICIES: dict[Policy, list[str | None]] = {
    "interval": ["U1", "U1", "U2", "U3", "U3"],
    "first_wins": ["U1", "U1", "U1", "U3", "U3"],
    "last_wins": ["U2", "U2", "U2", "U3", "U3"],
    "isolate": [None, None, None, "U3", "U3"],
}


@pytest.mark.parametrize("policy", POLICIES)
def test_policy_reads_each_stretch_between_resets_by_itself(policy: Policy) -> None:
    messages = [*FIVE, reset("x7", 7, "A"), track("e8", 8, "A"), identify("i9", 9, "A", "U3"), track("e10", 10, "A")]
    resolved = model.resolve(map(record, messages), {"p": Project("p", 0, policy=policy)})["p"]
    assert [resolved.who[id][0] for id in ("e1", "e3", "e6", "e8", "e10")] == POLICIES[policy]


def test_person_of_too_many_users_is_suspended_whole() -> None:
    messages = [merge("m1", 1, "a", "b"), merge("m2", 2, "b", "c"), track("e", 3, None, "c")]
    resolved = model.resolve(map(record, messages), {"p": Project("p", 0, max_users_per_person=2)})["p"]
    assert resolved.persons == {user: (user, "suspended") for user in "abc"}
    assert resolved.who["e"][0] == "c"


def test_edge_that_is_stated_first_counts_also_after_it_was_taken_back() -> None:
    messages = [
        alias("a1", 1, "p", "x"),
        alias("a2", 2, "p", "y"),
        unalias("b3", 3, "p", "x"),
        alias("a4", 4, "p", "x"),
    ]
    resolved = model.resolve(map(record, messages))["p"]
    assert resolved.edges == {("alias", "p", "x"): "counts", ("alias", "p", "y"): "conflict"}
