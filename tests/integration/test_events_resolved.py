"""Who did each event: the view `events_resolved_v` against worked cases, and against a model that recomputes all of it
from the set of messages."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.person import person_id
from store.client import Store
from store.tables import EVENTS, LINKS
from tests.fixtures.clickhouse import MODERN, NO_MODERN
from tests.rows import event_row, link_row, migrated

MOST_USERS = 10


@dataclass(frozen=True, order=True)
class Message:
    """One message; `id` is its messageId, `at` its timestamp in seconds."""

    at: int
    id: str
    name: str = "Viewed"
    anonymous: str | None = None
    user: str | None = None
    project: str = "p"
    received_at: int = 100


def identify(at: int, anonymous: str, user: str, id: str = "") -> Message:
    return Message(at, id or f"{at:02}i{anonymous}{user}", "$identify", anonymous, user)


def event(at: int, anonymous: str | None = "A", user: str | None = None, id: str = "") -> Message:
    return Message(at, id or f"{at:02}e", "Viewed", anonymous, user)


def reset(at: int, anonymous: str = "A") -> Message:
    return Message(at, f"{at:02}x", "$reset", anonymous)


# The model: as plain as it can be, and nothing of the real code


def model(messages: Sequence[Message]) -> dict[str, str | None]:
    """messageId: the user of each event of one project, None for an anonymous one."""
    facts = first_receipts(
        [m for m in messages if m.anonymous is not None and (m.user is not None or m.name == "$reset")]
    )
    return {message.id: user_of(message, facts) for message in first_receipts(messages)}


def user_of(message: Message, facts: Sequence[Message]) -> str | None:
    if message.user is not None or message.anonymous is None:
        return message.user
    points = sorted(fact for fact in facts if fact.anonymous == message.anonymous)
    if len({m.user for m in points if m.user is not None}) > MOST_USERS:
        return None
    before = [m for m in points if (m.at, m.id) <= (message.at, message.id)]
    after = [m for m in points if (m.at, m.id) > (message.at, message.id)]
    if before and before[-1].user is not None:
        return before[-1].user
    return after[0].user if after else None


def first_receipts(messages: Sequence[Message]) -> list[Message]:
    found = defaultdict(list)
    for message in messages:
        found[message.id].append(message)
    return [min(same, key=lambda message: message.received_at) for same in found.values()]


# The store's answer


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("modern", marks=pytest.mark.skipif(not MODERN, reason=NO_MODERN))]
)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with migrated(
        MODERN if request.param == "modern" else f"{request.getfixturevalue('store_url')}/resolved"
    ) as opened:
        yield opened


def resolved(store: Store, messages: Sequence[Message]) -> dict[str, dict[str, str | None]]:
    """Project: messageId: user, after these messages arrived in this order, in two inserts. Checks the person too."""
    run = str(uuid4())
    half = len(messages) // 2
    for part in (messages[:half], messages[half:]):
        put(store, EVENTS, [event_of(message, run) for message in part])
        put(store, LINKS, [link for message in part for link in links_of(message, run)])
    sql = """
        SELECT project_id, message_id, user_id, anonymous_id, resolved_user_id, person_id
        FROM events_resolved_v WHERE startsWith(project_id, {run:String})
    """
    answer: dict[str, dict[str, str | None]] = {message.project: {} for message in messages}
    for row in store.query(sql, {"run": run}):
        project, message, user = row["project_id"], row["message_id"], row["resolved_user_id"]
        assert row["person_id"] == person_id(project, user, row["anonymous_id"], message)
        assert message not in answer[project.removeprefix(run)], "a message is there twice"
        answer[project.removeprefix(run)][message] = user
    return answer


def put(store: Store, table: str, rows: Sequence[bytes]) -> None:
    if rows:
        store.insert(table, rows, str(uuid4()))


def event_of(message: Message, run: str) -> bytes:
    return event_row(
        project_id=run + message.project,
        message_id=message.id,
        type="identify" if message.name == "$identify" else "track",
        event_name=message.name,
        anonymous_id=message.anonymous,
        user_id=message.user,
        timestamp=message.at,
        received_at=message.received_at,
    )


def links_of(message: Message, run: str) -> Iterator[bytes]:
    """What the worker derives from one message, repeats and all."""
    kind = {"$identify": "exact", "$reset": "reset"}.get(message.name, "implicit")
    if message.anonymous is not None and (message.user is not None or kind == "reset"):
        yield link_row(
            project_id=run + message.project,
            message_id=message.id,
            anonymous_id=message.anonymous,
            user_id=message.user,
            kind=kind,
            timestamp=message.at,
            received_at=message.received_at,
        )


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
    "neither id": ([event(1, None)], {"01e": None}),
    "before 1970": ([event(0), identify(1, "A", "U"), reset(2), identify(3, "A", "V")], {"00e": "U"}),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("messages", "expected"), CASES.values(), ids=CASES.keys())
def test_worked_case_in_any_order_of_arrival(
    store: Store, messages: list[Message], expected: dict[str, str | None], seed: int
) -> None:
    arrived = random.Random(seed).sample(messages, len(messages)) if seed else messages
    answer = resolved(store, arrived)["p"]
    assert {name: answer[name] for name in expected} == expected
    assert answer == model(messages)


def test_projects_never_touch(store: Store) -> None:
    """Case 26."""
    there = replace(identify(2, "A", "U"), project="other")
    assert resolved(store, [event(1), there]) == {"p": {"01e": None}, "other": {there.id: "U"}}


messages = st.builds(
    Message,
    at=st.integers(0, 4),
    id=st.sampled_from("abcdefghijklmé😀"),
    name=st.sampled_from(["Viewed", "Viewed", "$identify", "$reset"]),
    anonymous=st.sampled_from(["A", "A", "B", None]),
    user=st.sampled_from([None, None, "U1", "U2", "U3"]),
    project=st.sampled_from(["p", "q"]),
    received_at=st.integers(100, 130),
).filter(lambda message: message.name != "$reset" or message.user is None)
kiosk = st.builds(
    lambda users, at: [identify(at, "A", f"V{number}") for number in range(users)],
    st.integers(8, 12),
    st.integers(0, 6),
)


def distinct_receipts(arrived: list[Message]) -> list[Message]:
    """Two receipts of one messageId in the same millisecond are another test's matter."""
    first: dict[tuple[str, str, int], Message] = {}
    for message in arrived:
        first.setdefault((message.project, message.id, message.received_at), message)
    return list(first.values())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(arrived=st.lists(messages, min_size=1, max_size=30), shared=st.one_of(st.just([]), kiosk), again=st.randoms())
def test_view_equals_the_model_for_any_messages_in_any_order(
    store: Store, arrived: list[Message], shared: list[Message], again: random.Random
) -> None:
    distinct = distinct_receipts(arrived + shared)
    delivered = distinct + again.sample(distinct, len(distinct) // 3)
    again.shuffle(delivered)
    expected = {
        project: model([message for message in distinct if message.project == project])
        for project in {message.project for message in distinct}
    }
    assert resolved(store, delivered) == expected
