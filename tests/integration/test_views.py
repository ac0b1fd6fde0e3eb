"""What readers see: no repeat of a message, persons and sessions as of now."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.person import person_id
from store.client import Store
from store.tables import EVENTS, LINKS
from tests.fixtures.clickhouse import MODERN, NO_MODERN
from tests.rows import RECEIVED_AT_S, event_row, insert, link_row, migrated, seen

MONTH_S = 31 * 86400


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("modern", marks=pytest.mark.skipif(not MODERN, reason=NO_MODERN))]
)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with migrated(MODERN if request.param == "modern" else f"{request.getfixturevalue('store_url')}/views") as opened:
        yield opened


@pytest.fixture
def project() -> str:
    return f"project-{uuid4()}"


def test_message_that_came_several_times_is_one_row(store: Store, project: str) -> None:
    later = [event_row(project_id=project, received_at=RECEIVED_AT_S + after_s) for after_s in (0, 1, 48 * 3600)]
    insert(store, *later)
    store.insert(EVENTS, later, str(uuid4()))
    assert len(seen(store, project, "message_id")) == 1


@pytest.mark.parametrize("after_s", [0.001, 1, 3 * MONTH_S], ids=["a millisecond", "a second", "three months"])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_earliest_receipt_wins_in_any_order_of_arrival(
    store: Store, project: str, after_s: float, is_reversed: bool
) -> None:
    rows = [
        event_row(project_id=project, event_name="first", raw={"z": 1}),
        event_row(project_id=project, event_name="second", raw={"a": 1}, received_at=RECEIVED_AT_S + after_s),
    ]
    insert(store, *(reversed(rows) if is_reversed else rows))
    assert seen(store, project, "event_name") == [{"event_name": "first"}]
    assert seen(store, project, "event_name", "events_resolved_v") == [{"event_name": "first"}]


@pytest.mark.parametrize("condition", ["event_name = 'late'", "received_at > '2026-10-01'", "NOT raw LIKE '%early%'"])
def test_condition_never_brings_a_hidden_repeat_back(store: Store, project: str, condition: str) -> None:
    late = RECEIVED_AT_S + MONTH_S
    insert(
        store,
        event_row(project_id=project, event_name="early", raw={"early": 1}),
        event_row(project_id=project, event_name="late", raw={"late": 1}, received_at=late),
    )
    sql = f"SELECT event_name FROM events WHERE project_id = {{project:String}} AND {condition}"
    assert store.query(sql, {"project": project}) == []


def test_of_two_in_one_millisecond_the_same_wins_in_any_order(store: Store) -> None:
    """Case 25, where even the receipt is the same."""
    bodies = [{"a": number} for number in range(3)]
    winners = set()
    for order in itertools.permutations(bodies):
        project = str(uuid4())
        insert(store, *(event_row(project_id=project, raw=body) for body in order))
        winners.add(str(seen(store, project, "raw")))
    assert len(winners) == 1


def test_projects_with_equal_message_ids_stay_apart(store: Store, project: str) -> None:
    insert(store, event_row(project_id=project), event_row(project_id=f"{project}-2"))
    assert len(seen(store, project, "message_id")) == len(seen(store, f"{project}-2", "message_id")) == 1


def test_repeated_fact_is_one_link(store: Store, project: str) -> None:
    insert(store, *[link_row(project_id=project)] * 3, table=LINKS)
    assert seen(store, project, "anonymous_id, user_id, kind", "identity_links") == [
        {"anonymous_id": "A", "user_id": "U", "kind": "exact"}
    ]


def test_message_repeated_about_another_anonymous_id_makes_no_fact(store: Store, project: str) -> None:
    """The event is a repeat, so what it says does not count, whatever it says."""
    later = link_row(project_id=project, anonymous_id="B", received_at=RECEIVED_AT_S + 1)
    insert(store, later, link_row(project_id=project), table=LINKS)
    assert [row["anonymous_id"] for row in seen(store, project, "anonymous_id", "identity_links")] == ["A"]


def test_one_message_may_make_facts_about_several_anonymous_ids(store: Store, project: str) -> None:
    insert(store, link_row(project_id=project), link_row(project_id=project, anonymous_id="B"), table=LINKS)
    assert [row["anonymous_id"] for row in seen(store, project, "anonymous_id", "identity_links")] == ["A", "B"]


ids = st.one_of(st.none(), st.text(max_size=8), st.sampled_from(["u:A", "é", "😀", "a" * 300]))


@settings(max_examples=20)
@given(events=st.lists(st.tuples(st.sampled_from(["p", "é", "p:1"]), ids, ids), min_size=1, max_size=20))
def test_person_is_computed_alike_in_sql_and_in_python(
    store: Store, events: list[tuple[str, str | None, str | None]]
) -> None:
    run = str(uuid4())
    rows = [
        event_row(project_id=project, message_id=f"{run}{number}", user_id=user, anonymous_id=anonymous)
        for number, (project, user, anonymous) in enumerate(events)
    ]
    store.insert(EVENTS, rows, run)
    sql = "SELECT message_id, person_id FROM events_resolved_v WHERE startsWith(message_id, {run:String})"
    computed = {row["message_id"]: row["person_id"] for row in store.query(sql, {"run": run})}
    assert computed == {
        f"{run}{number}": person_id(project, user, anonymous, f"{run}{number}")
        for number, (project, user, anonymous) in enumerate(events)
    }


def test_person_has_known_values() -> None:
    """Stored in people's tables, so these never change."""
    assert person_id("p", "U", "A") == person_id("p", "U", None) == UUID("e9eeb94a-9a2f-5fe4-af6d-3bd4b7a5905e")
    assert person_id("p", None, "A") == UUID("43556920-2f81-5015-b0ad-2a2b7dfd474b")


def test_persons_traits_are_the_last_that_an_identify_gave(store: Store, project: str) -> None:
    insert(
        store,
        event_row(project_id=project, message_id="1", anonymous_id="A", timestamp=1),
        identify(project, "2", at=2, plan="free", name="Zoë", address={"city": "Wien"}),
        identify(project, "4", at=4, plan="pro", odd={'"key"': [1, None]}),
        identify(project, "3", at=3, plan="trial"),
        event_row(
            project_id=project, message_id="5", user_id="U", type="group", traits={"plan": "group's"}, timestamp=9
        ),
    )
    insert(store, link_row(project_id=project, message_id="2", timestamp=2), table=LINKS)
    (person,) = seen(store, project, "*", "persons_v")
    assert person["person_id"] == person_id(project, "U", None)
    assert (person["user_id"], person["anonymous_ids"], person["events"]) == ("U", ["A"], 5)
    assert person["traits"] == {
        "plan": "pro",
        "name": "Zoë",
        "address": {"city": "Wien"},
        "odd": {'"key"': [1, None]},
    }
    assert [person["first_seen"], person["last_seen"]] == [datetime.fromtimestamp(at, UTC) for at in (1, 9)]


def identify(project: str, message_id: str, at: float, **traits: object) -> bytes:
    named = {"type": "identify", "event_name": "$identify", "traits": traits, "user_id": "U", "anonymous_id": "A"}
    return event_row(project_id=project, message_id=message_id, timestamp=at, **named)


def test_session_sees_the_user_of_its_identify_row(store: Store, project: str) -> None:
    of_session = {"project_id": project, "anonymous_id": "A", "session_id": "s"}
    insert(
        store,
        event_row(message_id="1", timestamp=1, **of_session),
        event_row(message_id="2", timestamp=2, event_name="$identify", user_id="U", **of_session),
        event_row(message_id="3", timestamp=3, **of_session),
        event_row(message_id="4", project_id=project),
    )
    (session,) = seen(store, project, "*", "sessions_v")
    assert (session["session_id"], session["anonymous_id"], session["user_id"], session["events"]) == ("s", "A", "U", 3)
    assert [session["started_at"], session["ended_at"]] == [datetime.fromtimestamp(at, UTC) for at in (1, 3)]
