"""Persons, what ties their users, and their devices, as readers see them."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest

from pipeline.dialects.mixpanel import read_call
from pipeline.merges import Merges
from pipeline.person import person_id
from pipeline.rows import versioned_row
from pipeline.rules import Rules
from store.client import Row, Store
from store.tables import EDGES, LINKS, PERSONS, PROJECTS
from tests.fixtures.clickhouse import MODERN, NO_MODERN
from tests.records import TestRecord
from tests.rows import RECEIVED_AT_S, edge_row, event_row, insert, link_row, migrated, person_row, project_row, seen
from topics import edges, stitched
from topics.edges import EdgeAction, EdgeFact, EdgeKind
from topics.raw import Dialect, Stamp
from topics.stitched import StitchedEvent


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("modern", marks=pytest.mark.skipif(not MODERN, reason=NO_MODERN))]
)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with migrated(MODERN if request.param == "modern" else f"{request.getfixturevalue('store_url')}/persons") as opened:
        yield opened


@pytest.fixture
def project() -> str:
    return f"project-{uuid4()}"


def instant(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


# identity_persons

FACTS = (
    (EdgeKind.ALIAS, EdgeAction.JOIN, "u1", "u2", 3),
    (EdgeKind.ALIAS, EdgeAction.JOIN, "u1", "u3", 5),  # counts until the one above comes
    (EdgeKind.MERGE, EdgeAction.JOIN, "u2", "u4", 7),
    (EdgeKind.ALIAS, EdgeAction.JOIN, "u4", "u2", 9),  # says what the one above says
)


def told_in_order(facts: Iterable[tuple[EdgeKind, EdgeAction, str, str, int]], project: str) -> list[bytes]:
    """The rows of all steps that the merge agent publishes, where the facts come to it one by one."""
    merges, rules, published = Merges(), Rules([], max_event_bytes=1000), list[bytes]()
    for kind, action, one, other, at in facts:
        fact = EdgeFact(project, kind, action, one, other, at, f"m{at}", RECEIVED_AT_S + at)
        decision = merges.decide([TestRecord(edges.encode(fact), key=edges.record_key(fact))], rules)
        merges.remember(decision)
        for key, value, _, _ in decision.steps:
            record = TestRecord(value, key=key, offset=len(published))
            published.append(versioned_row(record) or b"")
    return published


def test_persons_are_the_same_in_whatever_order_their_facts_came(store: Store, project: str) -> None:
    columns = "user_id, canonical_user_id, standing, since, message_id"
    persons = []
    for n, facts in enumerate(permutations(FACTS)):
        insert(store, *told_in_order(facts, f"{project}-{n}"), table=PERSONS)
        persons.append(seen(store, f"{project}-{n}", columns, "identity_persons"))
    assert [row["user_id"] for row in persons[0]] == ["u1", "u2", "u4"]
    assert [each for each in persons if each != persons[0]] == []


# persons_v


def told(project: str, at: int, traits: dict[str, Any] | None = None, **more: Any) -> bytes:
    given = {"type": "identify", "event_name": "$identify", "user_id": "U", "traits": traits or {}, **more}
    return event_row(project_id=project, message_id=f"{at:02}", timestamp=at, **given)


def once(project: str, at: int, **traits: Any) -> bytes:
    return told(project, at, traits, properties={"$set_once": traits})


def unset(project: str, at: int, *names: str) -> bytes:
    return told(project, at, dict.fromkeys(names), properties={"$unset": list(names)})


def traits_of(store: Store, project: str) -> dict[str, Any]:
    (person,) = seen(store, project, "traits", "persons_v")
    traits: dict[str, Any] = person["traits"]
    return traits


def test_person_has_all_that_its_users_and_anonymous_ids_did(store: Store, project: str) -> None:
    insert(
        store,
        event_row(project_id=project, message_id="1", anonymous_id="A", timestamp=1),
        told(project, 2, {"plan": "free"}, anonymous_id="A"),
        told(project, 3, {"name": "Zoë"}, user_id="V", anonymous_id="B"),
        event_row(project_id=project, message_id="4", anonymous_id="$blocked:x", user_id="V", timestamp=4),
    )
    insert(
        store,
        link_row(project_id=project, message_id="02", timestamp=2),
        link_row(project_id=project, message_id="03", timestamp=3, user_id="V", anonymous_id="B"),
        table=LINKS,
    )
    insert(store, person_row(project_id=project, user_id="U", canonical_user_id="V"), table=PERSONS)
    assert seen(store, project, "*", "persons_v") == [
        {
            "project_id": project,
            "person_id": person_id(project, "V", None),
            "user_id": "V",
            "anonymous_ids": ["A", "B"],
            "user_ids": ["U", "V"],
            "traits": {"plan": "free", "name": "Zoë"},
            "first_seen": instant(1),
            "last_seen": instant(4),
            "events": 4,
        }
    ]


def test_persons_as_of_a_moment(store: Store, project: str) -> None:
    insert(
        store,
        told(project, 1, {"plan": "free"}, received_at=10),
        told(project, 2, {"plan": "pro"}, received_at=20),
    )
    sql = "SELECT traits, events FROM persons_as_of(as_of = {at:DateTime64(3, 'UTC')}) WHERE project_id = {p:String}"
    assert store.query(sql, {"at": instant(15), "p": project}) == [{"traits": {"plan": "free"}, "events": 1}]


def test_anonymous_traits_count_unless_set_since(store: Store, project: str) -> None:
    """Case 28."""
    insert(
        store,
        told(project, 1, {"plan": "free", "city": "Wien"}, user_id=None, anonymous_id="A"),
        told(project, 2, {"plan": "pro"}, anonymous_id="A"),
    )
    insert(store, link_row(project_id=project, message_id="02", timestamp=2), table=LINKS)
    assert traits_of(store, project) == {"plan": "pro", "city": "Wien"}


@pytest.mark.parametrize(
    ("given", "traits"),
    [
        ([(once, {"plan": "a"}), (once, {"plan": "b"})], {"plan": "a"}),
        ([(told, {"plan": "set"}), (once, {"plan": "late"})], {"plan": "set"}),
        ([(once, {"plan": "early"}), (told, {"plan": "set"})], {"plan": "set"}),
        ([(told, {"plan": "set"}), (unset, ["plan"])], {}),
        ([(once, {"plan": "once"}), (unset, ["plan", "other"])], {}),
        ([(told, {"plan": "set"}), (unset, ["plan"]), (once, {"plan": "new"})], {"plan": "new"}),
        ([(once, {"plan": "a"}), (unset, ["plan"]), (once, {"plan": "b"}), (once, {"plan": "c"})], {"plan": "b"}),
        ([(unset, ["plan"]), (told, {"plan": "set"})], {"plan": "set"}),
        ([(told, {"plan": "set"}), (told, {"plan": None})], {"plan": "set"}),
    ],
    ids=[
        "earliest of several",
        "never over a set",
        "set over it",
        "unset",
        "unset takes what was set once",
        "once after unset",
        "earliest once after unset",
        "set after unset",
        "null says nothing",
    ],
)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_traits_that_are_set_once_or_taken_away(
    store: Store, project: str, given: list[tuple[Any, Any]], traits: dict[str, Any], is_reversed: bool
) -> None:
    rows = [
        unset(project, at, *what)
        if make is unset
        else told(project, at, what)
        if make is told
        else once(project, at, **what)
        for at, (make, what) in enumerate(given)
    ]
    insert(store, *(reversed(rows) if is_reversed else rows))
    assert traits_of(store, project) == traits


SPELLED = {
    "$avatar": "avatar",
    "$created": "createdAt",
    "$email": "email",
    "$first_name": "firstName",
    "$last_name": "lastName",
    "$phone": "phone",
    "created_at": "createdAt",
    "first_name": "firstName",
    "last_name": "lastName",
    "plan": "plan",
}


@pytest.mark.parametrize(("name", "trait"), SPELLED.items())
def test_mixpanels_names_are_those_of_the_traits(store: Store, project: str, name: str, trait: str) -> None:
    """The worker spells traits, but not the properties that say what was set once or taken away."""
    insert(store, updated(project, 1, "$set_once", {name: "first"}), updated(project, 2, "$set_once", {name: "late"}))
    assert traits_of(store, project) == {trait: "first"}
    insert(store, updated(project, 3, "$unset", [name]))
    assert traits_of(store, project) == {}


def updated(project: str, at: int, operation: str, what: object) -> bytes:
    """The stored row of an update that Mixpanel's `/engage` took."""
    body = json.dumps({"$distinct_id": "U", operation: what}).encode()
    stamp = Stamp(
        project, f"{at:02}", round(RECEIVED_AT_S + at) * 1000, Dialect.MIXPANEL, call="engage", key_kind="secret"
    )
    event = read_call(body, stamp)
    assert isinstance(event, StitchedEvent)
    return stitched.encode(event)


def test_what_is_not_active_is_not_seen_but_heard(store: Store, project: str) -> None:
    insert(
        store,
        told(project, 1, {"plan": "free"}),
        told(project, 2, {"plan": "pro"}, context={"active": False}),
    )
    (person,) = seen(store, project, "*", "persons_v")
    assert (person["traits"], person["first_seen"], person["last_seen"]) == ({"plan": "pro"}, instant(1), instant(1))
    assert person["events"] == 2


# anonymous_ids


def test_anonymous_id_counts_its_users_and_is_shared_by_the_projects_own_limit(store: Store, project: str) -> None:
    insert(
        store,
        *(link_row(project_id=project, message_id=user, user_id=user) for user in ("U1", "U2", "U3")),
        link_row(project_id=project, message_id="4", anonymous_id="B"),
        link_row(project_id=project, message_id="5", anonymous_id="C"),
        link_row(project_id=project, message_id="6", anonymous_id="C", user_id=None, kind="reset"),
        table=LINKS,
    )
    asked = "anonymous_id, users, resets, is_shared, has_sole_owner, sole_user_id"
    answer = {row["anonymous_id"]: list(row.values())[1:] for row in seen(store, project, asked, "anonymous_ids")}
    assert answer == {"A": [3, 0, 0, 0, None], "B": [1, 0, 0, 1, "U"], "C": [1, 1, 0, 0, None]}
    insert(store, project_row(project_id=project, max_users_per_anonymous_id=2), table=PROJECTS)
    shared = seen(store, project, "anonymous_id, is_shared", "anonymous_ids")
    assert [row["anonymous_id"] for row in shared if row["is_shared"]] == ["A"]


@pytest.mark.parametrize(("first_at", "users"), [(1, 2), (3, 1)])
def test_late_identify_of_mixpanel_is_no_user_of_the_id(store: Store, project: str, first_at: int, users: int) -> None:
    insert(
        store,
        link_row(project_id=project, message_id="1", user_id="U1", timestamp=2),
        link_row(project_id=project, message_id="2", user_id="U2", timestamp=first_at, kind="first"),
        table=LINKS,
    )
    assert seen(store, project, "users", "anonymous_ids") == [{"users": users}]


# identity_persons, identity_edges, identity_conflicts


def test_person_of_a_user_is_that_of_its_last_step(store: Store, project: str) -> None:
    insert(
        store,
        person_row(project_id=project, since=10, canonical_user_id="U2", version=1),
        person_row(project_id=project, since=20, canonical_user_id="U1", standing="alone", message_id="n", version=2),
        person_row(project_id=project, since=10, canonical_user_id="U3", version=3),
        table=PERSONS,
    )
    asked = "user_id, canonical_user_id, person_id, standing, since"
    assert seen(store, project, asked, "identity_persons") == [
        {
            "user_id": "U1",
            "canonical_user_id": "U1",
            "person_id": person_id(project, "U1", None),
            "standing": "alone",
            "since": instant(20),
        }
    ]
    (earlier,) = seen(store, project, asked, "identity_persons_as_of(as_of = '1970-01-01 00:00:19')")
    assert (earlier["canonical_user_id"], earlier["person_id"]) == ("U3", person_id(project, "U3", None))


def edge(project: str, at: int, to: str = "U2", **given: Any) -> bytes:
    return edge_row(
        **{
            "project_id": project,
            "message_id": f"{at:02}",
            "timestamp": at,
            "received_at": at + 100,
            "to_user_id": to,
            **given,
        }
    )


def states(store: Store, project: str, view: str = "identity_edges") -> dict[str, str]:
    return {row["to_user_id"]: row["state"] for row in seen(store, project, "to_user_id, state", view)}


def test_edge_tells_which_messages_made_and_parted_it(store: Store, project: str) -> None:
    insert(store, *(edge(project, at) for at in (3, 1)), edge(project, 2, action="part"), table=EDGES)
    moments: Row = {}
    for name, joined, at in (("first", "join", 1), ("last", "join", 3), ("last", "part", 2)):
        moments |= {
            f"{name}_{joined}ed_at": instant(at),
            f"{name}_{joined}_message_id": f"{at:02}",
            f"{name}_{joined}_received_at": instant(at + 100),
        }
    head = {"project_id": project, "kind": "alias", "from_user_id": "U1", "to_user_id": "U2", "state": "counts"}
    assert seen(store, project, "*", "identity_edges") == [head | moments]


@pytest.mark.parametrize("is_reversed", [False, True])
def test_edge_is_parted_until_it_is_asserted_again(store: Store, project: str, is_reversed: bool) -> None:
    """Case 15, and as of in between."""
    rows = [edge(project, 2), edge(project, 3, action="part"), edge(project, 4)]
    insert(store, *(reversed(rows) if is_reversed else rows), table=EDGES)
    assert states(store, project) == {"U2": "counts"}
    for at, state in ((102, {"U2": "counts"}), (103, {"U2": "parted"}), (104, {"U2": "counts"}), (101, {})):
        view = f"identity_edges_as_of(as_of = '{instant(at):%Y-%m-%d %H:%M:%S}')"
        assert states(store, project, view) == state


def test_repeat_of_a_message_parts_nothing(store: Store, project: str) -> None:
    insert(store, edge(project, 3, action="part", message_id="02"), edge(project, 2), table=EDGES)
    assert states(store, project) == {"U2": "counts"}


def test_of_several_aliases_the_first_asserted_counts_and_the_others_are_conflicts(store: Store, project: str) -> None:
    """Case 13."""
    insert(
        store,
        edge(project, 5, "U2"),
        edge(project, 2, "U3"),
        edge(project, 1, "U4"),
        edge(project, 6, "U4", action="part"),
        edge(project, 1, "U5", kind="merge", message_id="m"),
        table=EDGES,
    )
    assert states(store, project) == {"U2": "conflict", "U3": "counts", "U4": "parted", "U5": "counts"}
    (conflict,) = seen(store, project, "*", "identity_conflicts")
    advice = conflict.pop("advice")
    assert "$unalias" in advice
    assert conflict == {
        "project_id": project,
        "problem": "conflict",
        "user_id": "U1",
        "other_user_id": "U2",
        "message_id": "05",
        "since": instant(5),
    }


def test_users_of_too_large_a_person_are_conflicts_and_so_are_their_edges(store: Store, project: str) -> None:
    insert(store, edge(project, 1), table=EDGES)
    rows = [
        person_row(project_id=project, user_id=user, canonical_user_id=user, standing="suspended", since=50)
        for user in ("U1", "U2")
    ]
    insert(store, *rows, table=PERSONS)
    assert states(store, project) == {"U2": "suspended"}
    conflicts = seen(store, project, "user_id, problem, message_id, since, advice", "identity_conflicts")
    assert [(row["user_id"], row["problem"], row["message_id"]) for row in conflicts] == [
        ("U1", "suspended", "m"),
        ("U2", "suspended", "m"),
    ]
    assert all(row["since"] == instant(50) and "max_users_per_person" in row["advice"] for row in conflicts)
