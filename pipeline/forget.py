"""What it takes to forget a person, decided without touching anything: who is meant by an id, what Kafka is told, and
what Kafka keeps.

A person goes with all users of their component and all that only names these. An anonymous id that others had too
stays theirs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from pipeline.person import person_id
from pipeline.settings import Settings
from topics.control import Forgotten
from topics.edges import fact_key
from topics.keys import partition_of
from topics.names import TOPICS, Cleanup
from topics.orders import Forget, order_record
from topics.persons import step_key as record_key_of_step
from topics.records import Record

Outgoing: TypeAlias = dict[int, list[Record]]
"""Records by partition."""


Stage: TypeAlias = Callable[[str], AbstractContextManager[Callable[[int], None]]]
"""Opens a stage of the work by its name, and gives what hears how much of it is left."""


class CannotTell(Exception):
    """The id is nobody's, or of more than one person; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Known:
    """What an id is known as. `as_user` is the canonical user of a user with this id; `owners` are the canonical users
    of all users of an anonymous id with it; None where there is no such user or anonymous id."""

    as_user: str | None = None
    owners: frozenset[str] | None = None


NOBODY: Final = Known()


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who is to be forgotten: the person of a canonical user, of an anonymous id, or both as one: what an anonymous id
    did before it was a user's, or after a reset, goes with that user where the id was asked for."""

    canonical_user_id: str | None
    anonymous_id: str | None


@dataclass(frozen=True, slots=True)
class Person:
    """Who is to be forgotten, as known from all that was received until then. `anonymous_ids` are all that a fact ties
    to one of the users; `asked_for` is the anonymous id that it was asked for by,
    if it was by one."""

    project_id: str
    person_ids: tuple[UUID, ...]
    users: tuple[str, ...]
    anonymous_ids: tuple[str, ...]
    asked_for: str | None
    forgotten_at_ms: int


@dataclass(frozen=True, slots=True)
class Edge:
    """A fact of `identity.merges`, as far as its record's key goes."""

    message_id: str
    received_at_ms: int


class Step(NamedTuple):
    """A row that the store has of `identity.persons`; `version` is the offset of its record."""

    user_id: str
    since_ms: int
    version: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A topic that still holds what was said of a person. `until_ms` is None where that is for ever; a compacted topic
    drops it at its next compaction."""

    topic: str
    is_compacted: bool
    until_ms: int | None


def choose(id_: str, known: Known, kind: str | None) -> Chosen:
    """Who is meant by an id; `kind` is "user", "anonymous", or None where it was not said. Raises CannotTell."""
    as_user = known.as_user if kind != "anonymous" else None
    owners = known.owners if kind != "user" else None
    if as_user is None and owners is None:
        raise CannotTell(
            f"nobody is known by {'the ' + kind if kind else 'the'} id {id_!r}: check its spelling, and --project; "
            "`whipstitch sql` finds whom you look for in the view `events`"
        )
    if as_user is not None:
        if owners is not None and owners != {as_user}:
            raise CannotTell(f"{id_!r} is a user id and an anonymous id, of two persons: say --user or --anonymous")
        return Chosen(as_user, None)
    assert owners is not None, "it is known as something"
    if len(owners) > 1:
        users = ", ".join(sorted(owners))
        raise CannotTell(
            f"anonymous id {id_!r} was used by several persons: forget the one you mean by user id: {users}"
        )
    return Chosen(next(iter(owners), None), id_)


def person_ids(project_id: str, chosen: Chosen) -> tuple[UUID, ...]:
    user = () if chosen.canonical_user_id is None else (person_id(project_id, chosen.canonical_user_id, None),)
    anonymous = () if chosen.anonymous_id is None else (person_id(project_id, None, chosen.anonymous_id),)
    return (*user, *anonymous)


def tombstones(person: Person) -> list[Forgotten]:
    """What is kept of the person, so that a replay does not bring them back."""
    return [Forgotten(person.project_id, str(each), person.forgotten_at_ms) for each in person.person_ids]


def forget_records(person: Person, partitions: int, now_ms: int) -> Outgoing:
    """For `events.raw`: takes the users out of what a worker knows of each anonymous id."""
    outgoing: defaultdict[int, list[Record]] = defaultdict(list)
    for anonymous_id in person.anonymous_ids if person.users else ():
        record = order_record(Forget(person.project_id, anonymous_id, person.users), now_ms)
        outgoing[partition_of(record[0] or b"", partitions)].append(record)
    return outgoing


def edge_tombstones(project_id: str, edges: Iterable[Edge], partitions: int, now_ms: int) -> Outgoing:
    """For `identity.merges`: takes the facts away by their keys."""
    records: list[Record] = [
        (fact_key(project_id, edge.received_at_ms, edge.message_id), None, now_ms, ()) for edge in edges
    ]
    return {partition_of(project_id.encode(), partitions): records} if records else {}


def step_key(project_id: str, step: Step) -> bytes:
    return record_key_of_step(project_id, step.user_id, step.since_ms / 1000)


def kept(settings: Settings, now_ms: int) -> list[Kept]:
    """The topics that hold events or facts, and how long they will keep those that are in them now."""
    until_ms = {Cleanup.DELETE: now_ms + settings.raw_retention_s * 1000, Cleanup.COMPACT: None}
    return [
        Kept(topic.name, topic.cleanup is Cleanup.COMPACT, until_ms[topic.cleanup])
        for topic in TOPICS
        if topic.partitions == "data"
    ]
