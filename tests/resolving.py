"""Who did each event: small messages, a model that recomputes all of it from their set, and the view's answer.

The model is as plain as it can be, and nothing of the real code.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import uuid4

from hypothesis import strategies as st

from pipeline.person import person_id
from store.client import Store
from store.tables import EVENTS, LINKS, PERSONS, PROJECTS
from tests.rows import event_row, link_row, person_row, project_row
from topics.control import Policy

FIRST = "$first"
LAST_MOMENT = 2**40


@dataclass(frozen=True, order=True)
class Message:
    """One message; `id` is its messageId, `at` its timestamp in seconds. One named `$first` is Mixpanel's identify."""

    at: int
    id: str
    name: str = "Viewed"
    anonymous: str | None = None
    user: str | None = None
    project: str = "p"
    received_at: int = 100

    @property
    def ties(self) -> bool:
        return self.anonymous is not None and (self.user is not None or self.name == "$reset")


@dataclass(frozen=True, order=True)
class Step:
    """From `since` on this user is that person."""

    since: int
    user: str
    canonical: str
    version: int = 0
    project: str = "p"


@dataclass(frozen=True)
class Settings:
    """What a project sets of its own."""

    policy: Policy = "interval"
    most_users: int = 10


@dataclass(frozen=True)
class Told:
    """All that the store is told. Projects without settings have the defaults."""

    messages: Sequence[Message]
    steps: Sequence[Step] = ()
    settings: Mapping[str, Settings] = field(default_factory=dict)


Answer = dict[str, dict[str, str | None]]
"""Project: messageId: user, None for an anonymous event."""


def identify(at: int, anonymous: str, user: str, id: str = "") -> Message:
    return Message(at, id or f"{at:02}i{anonymous}{user}", "$identify", anonymous, user)


def first(at: int, anonymous: str, user: str) -> Message:
    return Message(at, f"{at:02}f{anonymous}{user}", FIRST, anonymous, user)


def event(at: int, anonymous: str | None = "A", user: str | None = None, id: str = "") -> Message:
    return Message(at, id or f"{at:02}e", "Viewed", anonymous, user)


def reset(at: int, anonymous: str = "A") -> Message:
    return Message(at, f"{at:02}x", "$reset", anonymous)


# The model


def model(told: Told, as_of: int = LAST_MOMENT) -> Answer:
    kept = first_receipts([message for message in told.messages if message.received_at <= as_of])
    facts = [message for message in kept if message.ties]
    answer: Answer = {message.project: {} for message in told.messages}
    for message in kept:
        owner = owner_of(message, facts, told.settings.get(message.project, Settings()))
        answer[message.project][message.id] = person_of(owner, message.project, told.steps, as_of)
    return answer


def owner_of(message: Message, facts: Sequence[Message], settings: Settings) -> str | None:
    if message.user is not None or message.anonymous is None:
        return message.user
    about = [fact for fact in facts if (fact.project, fact.anonymous) == (message.project, message.anonymous)]
    points = sorted(counting(about), key=lambda point: (point.at, point.id))
    if len({point.user for point in points if point.user is not None}) > settings.most_users:
        return None
    here = (message.at, message.id)
    before = [point for point in points if (point.at, point.id) <= here]
    after = [point for point in points if (point.at, point.id) > here]
    since_reset, until_reset = to_reset(before[::-1])[::-1], to_reset(after)
    users = [point.user for point in since_reset + until_reset]
    if not users:
        return None
    match settings.policy:
        case "interval":
            return since_reset[-1].user if since_reset else users[0]
        case "first_wins":
            return users[0]
        case "last_wins":
            return users[-1]
        case "isolate":
            return users[0] if len(set(users)) == 1 else None


def counting(facts: Sequence[Message]) -> list[Message]:
    earliest = min(((fact.at, fact.id) for fact in facts if fact.user is not None), default=None)
    return [fact for fact in facts if fact.name != FIRST or (fact.at, fact.id) == earliest]


def to_reset(points: Sequence[Message]) -> list[Message]:
    resets = [number for number, point in enumerate(points) if point.user is None]
    return list(points[: resets[0]] if resets else points)


def person_of(user: str | None, project: str, steps: Sequence[Step], as_of: int) -> str | None:
    known = [step for step in steps if (step.project, step.user) == (project, user) and step.since <= as_of]
    return max(known, key=lambda step: (step.since, step.version)).canonical if known else user


def first_receipts(messages: Sequence[Message]) -> list[Message]:
    found = defaultdict(list)
    for message in messages:
        found[message.project, message.id].append(message)
    return [min(same, key=lambda message: message.received_at) for same in found.values()]


# The store's answer


def resolved(store: Store, told: Told) -> Answer:
    """What the view says after all this arrived, in this order and in two inserts."""
    run = tell(store, told)
    return asked(store, told, run)


def tell(store: Store, told: Told) -> str:
    """Insert it; the prefix that its projects have in the store."""
    run = str(uuid4())
    half = len(told.messages) // 2
    for part in (told.messages[:half], told.messages[half:]):
        put(store, EVENTS, [event_of(message, run) for message in part])
        put(store, LINKS, [link_of(message, run) for message in part if message.ties])
    put(store, PERSONS, [step_of(step, run) for step in told.steps])
    put(store, PROJECTS, [settings_of(project, given, run) for project, given in told.settings.items()])
    return run


def asked(store: Store, told: Told, run: str, as_of: int = LAST_MOMENT) -> Answer:
    """What the view says of it now, or as of a moment. Checks the person of each event too."""
    view = "events_resolved_v" if as_of == LAST_MOMENT else "events_resolved_as_of(as_of = {at:DateTime64(3, 'UTC')})"
    sql = f"""
        SELECT project_id, message_id, user_id, anonymous_id, resolved_user_id, person_id
        FROM {view} WHERE startsWith(project_id, {{run:String}})
    """
    moment = {} if as_of == LAST_MOMENT else {"at": datetime.fromtimestamp(as_of, UTC)}
    answer: Answer = {message.project: {} for message in told.messages}
    for row in store.query(sql, {"run": run, **moment}):
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


def link_of(message: Message, run: str) -> bytes:
    """What the worker derives from one message, repeats and all."""
    return link_row(
        project_id=run + message.project,
        message_id=message.id,
        anonymous_id=message.anonymous,
        user_id=message.user,
        kind={"$identify": "exact", "$reset": "reset", FIRST: "first"}.get(message.name, "implicit"),
        timestamp=message.at,
        received_at=message.received_at,
    )


def step_of(step: Step, run: str) -> bytes:
    return person_row(
        project_id=run + step.project,
        user_id=step.user,
        since=step.since,
        canonical_user_id=step.canonical,
        version=step.version,
    )


def settings_of(project: str, given: Settings, run: str, version: int = 0) -> bytes:
    return project_row(
        project_id=run + project,
        policy=given.policy,
        max_users_per_anonymous_id=given.most_users,
        version=version,
    )


# Any messages


any_message = st.builds(
    Message,
    at=st.integers(0, 5),
    id=st.sampled_from("abcdefghijklmnopqé😀"),
    name=st.sampled_from(["Viewed", "Viewed", "$identify", "$reset", FIRST]),
    anonymous=st.sampled_from(["A", "A", "A", "B", None]),
    user=st.sampled_from([None, None, "U1", "U2", "U3"]),
    received_at=st.integers(100, 130),
).filter(lambda message: message.name != "$reset" or message.user is None)
any_kiosk = st.builds(
    lambda users, at: [identify(at, "A", f"V{number}") for number in range(users)],
    st.integers(8, 12),
    st.integers(0, 6),
)
any_step = st.builds(
    Step,
    since=st.integers(100, 130),
    user=st.sampled_from(["U1", "U2", "V1"]),
    canonical=st.sampled_from(["U1", "U2", "U3"]),
    version=st.integers(0, 2),
)
EACH_POLICY = {
    "p": Settings(),
    "first": Settings("first_wins"),
    "last": Settings("last_wins"),
    "isolate": Settings("isolate"),
    "few": Settings(most_users=2),
    "one": Settings("last_wins", most_users=1),
}


def distinct_receipts(arrived: list[Message]) -> list[Message]:
    """Two receipts of one messageId in the same millisecond are another test's matter."""
    return list({(message.id, message.received_at): message for message in arrived}.values())


def distinct_steps(arrived: list[Step]) -> list[Step]:
    return list({(step.user, step.since, step.version): step for step in arrived}.values())


def to_each_project(messages: Sequence[Message]) -> list[Message]:
    """The same messages in each of EACH_POLICY."""
    return [replace(message, project=name) for message in messages for name in EACH_POLICY]
