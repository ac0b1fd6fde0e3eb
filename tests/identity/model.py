"""The reference model: who did what, recomputed whole from the set of messages, as plainly as can be.

What arrives: records of `events.raw`, in any order and repeatedly, and the settings of projects. It shares nothing with
the code that it is held against but the form of the records. `resolve` is what must come out in the end, `stitched`
what may be written with each event as it passes.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid5

from tests.identity.reading import Edge, Event, Link, Moment, Settings, read
from topics.control import Policy, Project
from topics.raw import read_stamp
from topics.records import RawRecord

NAMESPACE = UUID("9f5c1e0a-7d6b-4c83-a2e1-4b7f60d3c958")
DAY_MS = 86_400_000
BUCKET_MS = 1_800_000
KEPT_AT_EACH_END = 8

Id = tuple[str, str]
"""A project, and a messageId, a user or an anonymous id of it."""


@dataclass(frozen=True)
class Fact:
    """A link, and the message that states it."""

    link: Link
    moment: Moment
    received_ms: int


@dataclass
class Resolved:
    """What one project's messages come to. `who` is by messageId: the user, None for an anonymous event, and the
    person; `persons` by user: the canonical one and the standing; `edges` by (kind, from, to): the state."""

    events: dict[str, Event] = field(default_factory=dict)
    who: dict[str, tuple[str | None, UUID]] = field(default_factory=dict)
    facts: set[Fact] = field(default_factory=set)
    edges: dict[tuple[str, str, str], str] = field(default_factory=dict)
    persons: dict[str, tuple[str, str]] = field(default_factory=dict)
    traits: dict[UUID, dict[str, Any]] = field(default_factory=dict)


def resolve(
    records: Iterable[RawRecord], settings: Settings | None = None, as_of_ms: int | None = None
) -> dict[str, Resolved]:
    """By project: what is known from the records received until that moment."""
    settings = settings or {}
    events = [event for event in _kept(records, settings) if as_of_ms is None or event.received_ms <= as_of_ms]
    projects = {event.project for event in events}
    return {
        name: _project([event for event in _first_receipts(events) if event.project == name], _of(settings, name))
        for name in projects
    }


def refusals(records: Iterable[RawRecord], settings: Settings | None = None) -> set[tuple[str, str]]:
    """(messageId, reason) of each dead letter, those of events that are kept among them."""
    letters = set()
    for record in records:
        event = read(record, settings or {})
        if isinstance(event, str):
            letters.add((_message_id(record), event))
        else:
            letters |= {(event.id, reason) for reason in event.letters}
    return letters


def without(records: Iterable[RawRecord], settings: Settings, project: str, user: str) -> dict[str, Resolved]:
    """What is left after the person of this user is forgotten: no event resolved to it, no fact and no edge of its
    users."""
    records = list(records)
    before = resolve(records, settings)[project]
    person = person_id(project, before.persons.get(user, (user, ""))[0], None, "")
    members = {other for other, (name, _) in before.persons.items() if person_id(project, name, None, "") == person}
    members |= {user}
    left = [
        replace(event, links=_not_of(event.links, members), edges=_between(event.edges, members))
        for event in before.events.values()
        if before.who[event.id][1] != person
    ]
    return {project: _project(left, _of(settings, project))}


def person_id(project: str, user: str | None, anonymous: str | None, message_id: str) -> UUID:
    if user is not None:
        return uuid5(uuid5(NAMESPACE, project), f"u:{user}")
    if anonymous is not None:
        return uuid5(uuid5(NAMESPACE, project), f"a:{anonymous}")
    return uuid5(uuid5(NAMESPACE, project), f"m:{message_id}")


# Level 1: who owns an anonymous id when


def owner(facts: Iterable[Fact], at: Moment, policy: Policy, most_users: int) -> str | None:
    """Who did an anonymous event at that moment, by the facts about its anonymous id."""
    points = sorted(((fact.moment, fact.link.user) for fact in _counting(facts)), key=lambda point: point[0])
    if len({user for _, user in points if user is not None}) > most_users:
        return None
    last_reset = max((moment for moment, user in points if user is None and moment <= at), default=(-1, ""))
    next_reset = min((moment for moment, user in points if user is None and moment > at), default=None)
    segment = [
        (moment, user)
        for moment, user in points
        if user is not None and moment > last_reset and (next_reset is None or moment < next_reset)
    ]
    users = [user for _, user in segment]
    if not users:
        return None
    match policy:
        case "interval":
            before = [user for moment, user in segment if moment <= at]
            return before[-1] if before else users[0]
        case "first_wins":
            return users[0]
        case "last_wins":
            return users[-1]
        case "isolate":
            return users[0] if len(set(users)) == 1 else None


def _counting(facts: Iterable[Fact]) -> list[Fact]:
    """Without Mixpanel's identifies, but for one that is the very first to name a user."""
    facts = list(facts)
    first = min((fact.moment for fact in facts if fact.link.user is not None), default=None)
    return [fact for fact in facts if fact.link.kind != "first" or fact.moment == first]


# Level 2: which users are one person


def persons(
    events: Iterable[Event], most_users: int
) -> tuple[dict[tuple[str, str, str], str], dict[str, tuple[str, str]]]:
    """The state of each edge that was ever asserted, and of each user that has one its canonical user and standing."""
    stated: dict[tuple[str, str, str], dict[str, list[Moment]]] = defaultdict(lambda: {"join": [], "part": []})
    for event in events:
        for edge in event.edges:
            stated[edge.kind, edge.from_user, edge.to_user][edge.action].append(event.moment)
    stated = {key: moments for key, moments in stated.items() if moments["join"]}
    active = {key for key, moments in stated.items() if _is_active(**moments)}
    states = {key: "counts" if key in active else "parted" for key in stated}
    for key in active:
        rivals = [other for other in active if key[0] == "alias" and other[:2] == key[:2]]
        if any(min(stated[other]["join"]) < min(stated[key]["join"]) for other in rivals):
            states[key] = "conflict"
    counting = [key for key in states if states[key] == "counts"]
    leaving = {key[1] for key in counting if key[0] == "alias"}
    users: dict[str, tuple[str, str]] = {}
    for user in {name for key in stated for name in key[1:]}:
        component = _component(user, counting)
        if len(component) == 1:
            users[user] = (user, "alone")
        elif len(component) > most_users:
            users[user] = (user, "suspended")
        else:
            users[user] = (min(component - leaving or component), "joined")
    states.update({key: "suspended" for key in counting if users[key[1]][1] == "suspended"})
    return states, users


def _is_active(join: list[Moment], part: list[Moment]) -> bool:
    return not part or max(join) > max(part)


def _component(user: str, edges: Sequence[tuple[str, str, str]]) -> set[str]:
    found = {user}
    while grown := {name for edge in edges if found & set(edge[1:]) for name in edge[1:]} - found:
        found |= grown
    return found


# Together


def _project(events: Sequence[Event], project: Project) -> Resolved:
    resolved = Resolved(events={event.id: event for event in events})
    resolved.facts = {Fact(link, event.moment, event.received_ms) for event in events for link in event.links}
    resolved.edges, resolved.persons = persons(events, project.max_users_per_person)
    for event in events:
        user = event.user
        if user is None and event.anonymous is not None:
            facts = [fact for fact in resolved.facts if fact.link.anonymous == event.anonymous]
            user = owner(facts, event.moment, project.policy, project.max_users_per_anonymous_id)
        if user is not None:
            user = resolved.persons.get(user, (user, ""))[0]
        resolved.who[event.id] = user, person_id(event.project, user, event.anonymous, event.id)
    for event in sorted(events, key=lambda event: event.moment):
        if event.is_identify:
            resolved.traits.setdefault(resolved.who[event.id][1], {}).update(event.traits)
    return resolved


def stitched(
    arrived: Iterable[RawRecord], settings: Settings | None = None, window_ms: int = DAY_MS
) -> dict[tuple[str, str, int], str | None]:
    """By (project, messageId, receipt): the user at write time, from the records of its key that came before and its
    own. Repeats within the window say nothing."""
    settings = settings or {}
    written: dict[tuple[str, str, int], str | None] = {}
    prefixes: dict[bytes | None, list[Event]] = defaultdict(list)
    for record in arrived:
        event, prefix = read(record, settings), prefixes[record.key]
        if isinstance(event, str) or any(_repeats(event, earlier, window_ms) for earlier in prefix):
            continue
        prefix.append(event)
        user = event.user
        if user is None and event.anonymous is not None:
            project = _of(settings, event.project)
            facts = [
                Fact(link, earlier.moment, earlier.received_ms)
                for earlier in prefix
                for link in earlier.links
                if link.anonymous == event.anonymous
            ]
            user = at_write_time(facts, event.moment, project)
        written[event.project, event.id, event.received_ms] = user
    return written


def at_write_time(facts: Sequence[Fact], at: Moment, project: Project) -> str | None:
    """The same rule over the facts that a bounded state keeps, and all users but those that it cannot tell to count."""
    kept = bounded(facts)
    stated = [fact for fact in facts if fact.link.kind != "first"]
    users = {fact.link.user for fact in [*stated, *_counting(kept)]} - {None}
    return owner(kept, at, project.policy, len(users)) if len(users) <= project.max_users_per_anonymous_id else None


def bounded(facts: Iterable[Fact]) -> list[Fact]:
    """Of implicit facts the first of a user in half an hour. Of all that are left the earliest, and the latest: among
    these an implicit one stands where its half hour begins."""
    by_bucket = {}
    for fact in sorted(facts, key=lambda fact: fact.moment, reverse=True):
        is_implicit = fact.link.kind == "implicit"
        by_bucket[(fact.link.user or "", fact.moment[0] // BUCKET_MS) if is_implicit else fact.moment] = fact
    earliest = sorted(by_bucket.values(), key=lambda fact: fact.moment)
    latest = sorted(by_bucket.values(), key=_rank)
    kept = {*earliest[:KEPT_AT_EACH_END], *latest[-KEPT_AT_EACH_END:]}
    return [fact for fact in earliest if fact in kept]


def _rank(fact: Fact) -> Moment:
    at_ms = fact.moment[0]
    return (at_ms // BUCKET_MS * BUCKET_MS, f"\0{fact.link.user}") if fact.link.kind == "implicit" else fact.moment


def _kept(records: Iterable[RawRecord], settings: Settings) -> list[Event]:
    read_records = [read(record, settings) for record in records]
    return [event for event in read_records if not isinstance(event, str)]


def _first_receipts(events: Iterable[Event]) -> list[Event]:
    same: dict[Id, list[Event]] = defaultdict(list)
    for event in events:
        same[event.project, event.id].append(event)
    return [min(receipts, key=lambda event: event.received_ms) for receipts in same.values()]


def _repeats(event: Event, earlier: Event, window_ms: int) -> bool:
    return (event.project, event.id) == (earlier.project, earlier.id) and (
        event.received_ms - earlier.received_ms < window_ms
    )


def _not_of(links: Iterable[Link], users: set[str]) -> frozenset[Link]:
    return frozenset(link for link in links if link.user not in users)


def _between(edges: Iterable[Edge], users: set[str]) -> frozenset[Edge]:
    return frozenset(edge for edge in edges if edge.from_user not in users and edge.to_user not in users)


def _of(settings: Mapping[str, Project], project: str) -> Project:
    return settings.get(project, Project(project, 0))


def _message_id(record: RawRecord) -> str:
    return read_stamp(record.headers).message_id
