"""Which users are one person, step by step of received time, held against a plain recount of the same facts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.person_graph import PersonGraph
from topics.edges import EdgeAction, EdgeFact, EdgeKind, encode, record_key
from topics.persons import PersonStep, Standing

MAX_USERS = 3
Steps = dict[tuple[str, float], PersonStep]


def fact(
    kind: str, action: str, one: str, other: str, at: float, message_id: str = "", received_at: float | None = None
) -> EdgeFact:
    first, second = sorted((one, other)) if kind == "merge" else (one, other)
    received = at if received_at is None else received_at
    return EdgeFact("p", EdgeKind(kind), EdgeAction(action), first, second, at, message_id or f"m{at}", received)


def alias(one: str, other: str, at: float, action: str = "join") -> EdgeFact:
    return fact("alias", action, one, other, at)


def merge(one: str, other: str, at: float, action: str = "join") -> EdgeFact:
    return fact("merge", action, one, other, at)


def users(steps: Steps, at: float = 100) -> dict[str, str]:
    """The canonical user of each user, as of a moment of received time."""
    latest: dict[str, PersonStep] = {}
    for (user_id, since), step in sorted(steps.items(), key=lambda each: each[0][1]):
        if since <= at:
            latest[user_id] = step
    return {user_id: step.canonical_user_id for user_id, step in latest.items()}


def after(*facts: EdgeFact, max_users: int = MAX_USERS) -> dict[str, str]:
    return users(PersonGraph("p", max_users).apply(facts))


def test_worked_cases() -> None:
    assert after(alias("u1", "u2", 1), alias("u2", "u3", 2)) == {"u1": "u3", "u2": "u3", "u3": "u3"}
    assert after(alias("u1", "u2", 1), alias("u2", "u1", 2)) == {"u1": "u1", "u2": "u1"}
    assert after(alias("u1", "u3", 2), alias("u1", "u2", 5)) == {"u1": "u3", "u3": "u3"}
    assert after(merge("u2", "u1", 1), merge("u3", "u2", 2)) == {"u1": "u1", "u2": "u1", "u3": "u1"}
    parted = [alias("u1", "u2", 2), alias("u1", "u2", 3, "part")]
    assert after(*parted) == {"u1": "u1", "u2": "u2"}
    assert after(*parted, alias("u1", "u2", 4)) == {"u1": "u2", "u2": "u2"}


def test_where_the_alias_that_counts_is_taken_back_the_next_earliest_counts() -> None:
    facts = [alias("u1", "u3", 2), alias("u1", "u2", 5), alias("u1", "u4", 6)]
    assert after(*facts, alias("u1", "u3", 7, "part")) == {"u1": "u2", "u2": "u2", "u3": "u3"}


def test_a_person_of_too_many_users_is_suspended_as_a_whole_and_comes_back() -> None:
    graph = PersonGraph("p", MAX_USERS)
    steps = graph.apply([merge("a", "b", 1), merge("b", "c", 2), merge("c", "d", 3)])
    assert users(steps) == {user_id: user_id for user_id in "abcd"}
    assert {step.standing for (_, since), step in steps.items() if since == 3} == {Standing.SUSPENDED}
    steps |= graph.apply([merge("a", "b", 4, "part")])
    assert users(steps) == {"a": "a", "b": "b", "c": "b", "d": "b"}


def test_the_past_is_what_was_received_by_then() -> None:
    steps = PersonGraph("p", MAX_USERS).apply([merge("a", "b", 5), merge("a", "b", 8, "part")])
    assert [users(steps, at) for at in (4, 5, 7, 8)] == [{}, *2 * ({"a": "a", "b": "a"},), {"a": "a", "b": "b"}]


def test_a_fact_that_comes_late_changes_the_steps_behind_it() -> None:
    graph = PersonGraph("p", MAX_USERS)
    steps = graph.apply([merge("b", "c", 5)]) | graph.apply([merge("a", "b", 3)])
    assert users(steps, 3) == {"a": "a", "b": "a"}
    assert users(steps, 5) == {"a": "a", "b": "a", "c": "a"}


def test_a_fact_taken_away_is_as_if_it_had_never_been() -> None:
    graph, forgotten = PersonGraph("p", MAX_USERS), merge("a", "b", 3)
    steps = graph.apply([forgotten, merge("b", "c", 5)])
    steps |= graph.apply([], {record_key(forgotten)})
    assert users(steps) == {"a": "a", "b": "b", "c": "b"}
    assert [graph.knows(user_id) for user_id in "abc"] == [False, True, True]


def test_a_repeated_fact_changes_nothing() -> None:
    graph = PersonGraph("p", MAX_USERS)
    graph.apply([merge("a", "b", 3)])
    assert graph.apply([merge("a", "b", 3)]) == {}
    assert graph.members("b") == ("a", "b")


def test_ten_thousand_aliases_onto_one_user_leave_bounded_work_to_each() -> None:
    graph = PersonGraph("p", 50)
    steps = graph.apply([alias(f"p{n:05}", "u", n) for n in range(10_000)])
    assert len(steps) < 10_000 + 200
    assert {graph.members(user_id) for user_id in ("u", "p00000")} == {("u",), ("p00000",)}


facts = st.builds(
    fact,
    kind=st.sampled_from(["alias", "merge"]),
    action=st.sampled_from(["join", "join", "part"]),
    one=st.sampled_from("abc"),
    other=st.sampled_from("defg"),
    at=st.integers(0, 5).map(float),
    message_id=st.sampled_from([f"m{n}" for n in range(9)]),
    received_at=st.integers(0, 6).map(float),
) | st.builds(
    fact,
    kind=st.sampled_from(["alias", "merge"]),
    action=st.just("join"),
    one=st.sampled_from("ad"),
    other=st.sampled_from("be"),
    at=st.integers(0, 5).map(float),
    message_id=st.sampled_from([f"m{n}" for n in range(9)]),
    received_at=st.integers(0, 6).map(float),
)


@given(st.lists(st.lists(facts, min_size=1, max_size=4), max_size=4))
def test_any_batches_in_any_order_come_to_what_a_plain_recount_says(batches: list[list[EdgeFact]]) -> None:
    graph, known = PersonGraph("p", MAX_USERS), list[EdgeFact]()
    steps: Steps = {}
    for batch in batches:
        steps |= graph.apply(batch)
        known += batch
        for at in range(7):
            named = users(steps, at)
            expected = recount(known, at)
            assert {user_id: named.get(user_id, user_id) for user_id in expected} == expected


def recount(facts: list[EdgeFact], at: float) -> dict[str, str]:
    """The rules, as plainly as they can be written."""
    first: dict[str, EdgeFact] = {}
    for each in sorted(facts, key=lambda each: (each.received_at, encode(each))):
        first.setdefault(each.message_id, each)
    edges: dict[tuple[str, str, str], dict[str, list[tuple[float, str]]]] = {}
    for each in first.values():
        if each.received_at <= at:
            edge = edges.setdefault((each.kind, each.from_user_id, each.to_user_id), {"join": [], "part": []})
            edge[each.action].append((each.timestamp, each.message_id))
    active = {
        key: min(edge["join"])
        for key, edge in edges.items()
        if edge["join"] and (not edge["part"] or max(edge["join"]) > max(edge["part"]))
    }
    counting = [
        key
        for key, asserted in active.items()
        if key[0] == "merge" or asserted == min(active[other] for other in active if other[:2] == key[:2])
    ]
    return {user_id: _canonical(user_id, counting) for key in edges for user_id in key[1:]}


def _canonical(user_id: str, counting: list[tuple[str, str, str]]) -> str:
    found = {user_id}
    for _ in counting:
        found |= {each for key in counting for each in key[1:] if found & {*key[1:]}}
    if len(found) > MAX_USERS:
        return user_id
    aliased = {key[1] for key in counting if key[0] == "alias"}
    return min(found - aliased or found)


@pytest.mark.parametrize("kind", ["alias", "merge"])
def test_members_are_those_of_the_person_as_of_now(kind: str) -> None:
    graph = PersonGraph("p", MAX_USERS)
    graph.apply([fact(kind, "join", "a", "b", 1), fact(kind, "join", "b", "c", 2)])
    assert {graph.members(user_id) for user_id in "abc"} == {("a", "b", "c")}
    graph.apply([fact(kind, "part", "a", "b", 3)])
    assert [graph.members(user_id) for user_id in "abc"] == [("a",), ("b", "c"), ("b", "c")]
