"""The ties between users, each with its state and with the messages that made it so.

Arrives: facts of `identity.merges`, one a message, in order of time, among them all aliases of every user who has one.
Which edges count is decided as everywhere, by `pipeline/person_edges.py`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Literal

from cli.identity_rows import Message
from pipeline.person_edges import Edges
from topics.edges import EdgeAction, EdgeFact, EdgeKind

EdgeState = Literal["counts", "conflict", "parted", "suspended"]


@dataclass(frozen=True, slots=True)
class Said:
    """A message that joined or parted two users; where several in a row say the same, the first."""

    action: EdgeAction
    message: Message


@dataclass(frozen=True, slots=True)
class Edge:
    kind: EdgeKind
    from_user_id: str
    to_user_id: str
    state: EdgeState
    said: tuple[Said, ...]


def edges(facts: Iterable[EdgeFact], canonical: Mapping[str, str]) -> list[Edge]:
    """Every edge that the facts are about; `canonical` says whose person a user is, of those who are shown."""
    of_edge: defaultdict[tuple[EdgeKind, str, str], list[EdgeFact]] = defaultdict(list)
    of_alias: defaultdict[str, list[EdgeFact]] = defaultdict(list)
    for fact in facts:
        of_edge[fact.kind, fact.from_user_id, fact.to_user_id].append(fact)
        if fact.kind is EdgeKind.ALIAS:
            of_alias[fact.from_user_id].append(fact)
    found = []
    for (kind, one, other), said in of_edge.items():
        if all(fact.action is EdgeAction.PART for fact in said):
            continue  # what was never joined is no edge
        rivals = of_alias[one] if kind is EdgeKind.ALIAS else said
        found.append(Edge(kind, one, other, _state(said, rivals, canonical), _words(said)))
    return found


def _state(facts: Sequence[EdgeFact], rivals: Sequence[EdgeFact], canonical: Mapping[str, str]) -> EdgeState:
    one, other = facts[0].from_user_id, facts[0].to_user_id
    if not _joins(facts, one, other):
        return "parted"
    if not _joins(rivals, one, other):
        return "conflict"
    return "counts" if canonical.get(one) == canonical.get(other) else "suspended"


def _joins(facts: Iterable[EdgeFact], one: str, other: str) -> bool:
    """Whether these facts alone, of one edge or of all aliases of one user, make one person of the two."""
    told = Edges()
    for fact in facts:
        told.put(fact)
    return other in (told.component(one, at_most=2) or ())


def _words(facts: Sequence[EdgeFact]) -> tuple[Said, ...]:
    return tuple(Said(action, _message(next(same))) for action, same in groupby(facts, key=lambda fact: fact.action))


def _message(fact: EdgeFact) -> Message:
    timestamp, received_at = (datetime.fromtimestamp(at, UTC) for at in (fact.timestamp, fact.received_at))
    return Message(fact.message_id, timestamp, received_at)
