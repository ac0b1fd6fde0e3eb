"""Who did each event by a project's own settings, among merged users, and as of an earlier moment."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from store.client import Store
from store.tables import PERSONS, PROJECTS
from tests.fixtures.clickhouse import MODERN, NO_MODERN
from tests.resolving import (
    Message,
    Settings,
    Step,
    Told,
    asked,
    event,
    first,
    identify,
    model,
    put,
    reset,
    resolved,
    settings_of,
    step_of,
    tell,
)
from tests.rows import migrated
from topics.control import Policy


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("modern", marks=pytest.mark.skipif(not MODERN, reason=NO_MODERN))]
)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with migrated(
        MODERN if request.param == "modern" else f"{request.getfixturevalue('store_url')}/policies"
    ) as opened:
        yield opened


TWO_USERS = [event(1), identify(2, "A", "U1"), event(3), identify(5, "A", "U2"), event(6)]
WITH_RESETS = [
    event(1),
    identify(2, "A", "U1"),
    event(3),
    identify(4, "A", "U2"),
    reset(5),
    event(6),
    identify(7, "A", "U3"),
    event(8),
    reset(9),
    event(10),
]
BY_POLICY: dict[Policy, tuple[list[str | None], list[str | None]]] = {
    "interval": (["U1", "U1", "U2"], ["U1", "U1", "U3", "U3", None]),
    "first_wins": (["U1", "U1", "U1"], ["U1", "U1", "U3", "U3", None]),
    "last_wins": (["U2", "U2", "U2"], ["U2", "U2", "U3", "U3", None]),
    "isolate": ([None, None, None], [None, None, "U3", "U3", None]),
}
"""Whose the events of both are, in their order."""


def whose(store: Store, messages: Sequence[Message], settings: Settings, *steps: Step) -> list[str | None]:
    """The users of the events `…e`, in their order. Held against the model."""
    told = Told(messages, steps, {"p": settings})
    answer = resolved(store, told)
    assert answer == model(told)
    return [answer["p"][message.id] for message in messages if message.name == "Viewed" and message.user is None]


@pytest.mark.parametrize("policy", BY_POLICY)
def test_policy_decides_between_users_and_never_over_a_reset(store: Store, policy: Policy) -> None:
    assert whose(store, TWO_USERS, Settings(policy)) == BY_POLICY[policy][0]
    assert whose(store, WITH_RESETS, Settings(policy)) == BY_POLICY[policy][1]


@pytest.mark.parametrize("policy", BY_POLICY)
def test_policies_agree_where_there_is_one_user(store: Store, policy: Policy) -> None:
    messages = [event(1), identify(2, "A", "U"), event(3), identify(4, "A", "U"), event(5, "B")]
    assert whose(store, messages, Settings(policy)) == ["U", "U", None]


@pytest.mark.parametrize("policy", BY_POLICY)
def test_own_user_of_an_event_wins_by_any_policy(store: Store, policy: Policy) -> None:
    told = Told([*TWO_USERS, event(7, "A", "U3")], settings={"p": Settings(policy)})
    assert resolved(store, told)["p"]["07e"] == "U3"


@pytest.mark.parametrize("policy", BY_POLICY)
def test_late_identify_of_mixpanel_is_no_user_of_the_id(store: Store, policy: Policy) -> None:
    messages = [event(1), identify(2, "A", "U1"), first(3, "A", "U2"), event(4)]
    assert whose(store, messages, Settings(policy, most_users=1)) == ["U1", "U1"]


@pytest.mark.parametrize("policy", BY_POLICY)
def test_shared_id_is_nobodys_by_any_policy(store: Store, policy: Policy) -> None:
    assert whose(store, TWO_USERS, Settings(policy, most_users=1)) == [None, None, None]


def test_users_are_counted_over_resets(store: Store) -> None:
    assert whose(store, WITH_RESETS, Settings(most_users=2)) == [None] * 5
    assert whose(store, WITH_RESETS, Settings(most_users=3)) == BY_POLICY["interval"][1]


def test_policy_that_is_set_later_needs_no_new_events(store: Store) -> None:
    told = Told(TWO_USERS)
    run = tell(store, told)
    assert asked(store, told, run)["p"]["06e"] == "U2"
    put(store, PROJECTS, [settings_of("p", Settings("first_wins"), run, version=1)])
    put(store, PROJECTS, [settings_of("p", Settings("isolate"), run, version=2)])
    assert asked(store, told, run)["p"]["06e"] is None


def test_policy_is_the_projects_own(store: Store) -> None:
    other = [replace(message, project="other") for message in TWO_USERS]
    answer = resolved(store, Told(TWO_USERS + other, settings={"other": Settings("first_wins")}))
    assert (answer["p"]["06e"], answer["other"]["06e"]) == ("U2", "U1")


# Merged users

MERGED = Step(50, "U1", "U2")


def test_merged_users_events_are_the_persons(store: Store) -> None:
    """Case 23: all of case 5, and what names the merged user itself."""
    messages = [*TWO_USERS, event(7, "B", "U1"), event(8, None, "U1"), event(9, "B")]
    told = Told(messages, [MERGED])
    answer = resolved(store, told)
    assert answer == model(told)
    assert set(answer["p"].values()) == {"U2"}


def test_one_persons_several_users_are_still_several_users_of_an_id(store: Store) -> None:
    """The limit and `isolate` look at users: devices never merge people, nor do people merge devices."""
    assert whose(store, TWO_USERS, Settings("isolate"), MERGED) == [None, None, None]
    assert whose(store, TWO_USERS, Settings(most_users=1), MERGED) == [None, None, None]


def test_user_that_is_alone_again_has_its_events_back(store: Store) -> None:
    assert whose(store, TWO_USERS, Settings(), MERGED, Step(60, "U1", "U1", version=1)) == ["U1", "U1", "U2"]


def test_step_is_replaced_by_one_of_a_greater_version(store: Store) -> None:
    told = Told(TWO_USERS, [Step(50, "U1", "U1", version=3)])
    run = tell(store, told)
    put(store, PERSONS, [step_of(Step(50, "U1", "U2", version=version), run) for version in (1, 2)])
    assert asked(store, told, run)["p"]["01e"] == "U1"
    put(store, PERSONS, [step_of(Step(50, "U1", "U2", version=4), run)])
    assert asked(store, told, run)["p"]["01e"] == "U2"


def test_merge_in_another_project_changes_nothing(store: Store) -> None:
    other = replace(event(1, None, "U1"), project="other")
    answer = resolved(store, Told([*TWO_USERS, other], [replace(MERGED, project="other")]))
    assert (answer["p"]["01e"], answer["other"]["01e"]) == ("U1", "U2")


# As of


def test_as_of_a_moment_only_what_was_received_by_then_is_known(store: Store) -> None:
    messages = [
        replace(event(1), received_at=10),
        replace(identify(2, "A", "U1"), received_at=20),
        replace(identify(0, "A", "U2"), received_at=30),
    ]
    told = Told(messages, [Step(40, "U2", "U3")])
    run = tell(store, told)
    known = {at: asked(store, told, run, at)["p"] for at in (9, 10, 20, 30, 40)}
    assert [len(answer) for answer in known.values()] == [0, 1, 2, 3, 3]
    assert [known[at]["01e"] for at in (10, 20, 30, 40)] == [None, "U1", "U2", "U3"]
    assert known[40] == asked(store, told, run)["p"]
    assert all(known[at] == model(told, at)["p"] for at in known)


def test_as_of_takes_a_moment_as_text_too(store: Store) -> None:
    run = tell(store, Told([replace(event(1), received_at=10)]))
    sql = "SELECT count() AS events FROM {view} WHERE startsWith(project_id, {{run:String}})"
    for moment, events in (("1970-01-01 00:00:09.999", 0), ("1970-01-01 00:00:10.000", 1)):
        view = f"events_resolved_as_of(as_of = '{moment}')"
        assert store.query(sql.format(view=view), {"run": run}) == [{"events": events}]
