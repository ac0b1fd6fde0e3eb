"""What is read of one id, as values: facts, edges, memberships and counts, none of them judged yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from topics.control import Policy
from topics.edges import EdgeFact
from topics.persons import Standing

TieKind = Literal["identify", "implicit", "first", "alias", "reset"]


@dataclass(frozen=True, slots=True)
class Message:
    """A message that made something so. `timestamp` is when it happened."""

    message_id: str
    timestamp: datetime
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Tie:
    """Facts in a row that say the same of an anonymous id: from `message` on, the first of them, `user_id` has it
    (None: nobody, a reset). `facts` is how many there are, `last_at` when the last happened."""

    anonymous_id: str
    user_id: str | None
    kind: TieKind
    message: Message
    facts: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that was to tie something and does not: its id is blocked, its key may not, and the like."""

    message_id: str
    received_at: datetime
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Done:
    """Events that say their user, under one anonymous id or none; or, where `user_id` is None, those of an anonymous id
    that lie behind the first `ties` of its ties and before the next."""

    user_id: str | None
    anonymous_id: str | None
    ties: int
    events: int
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class Membership:
    """Whose person a user is."""

    user_id: str
    canonical_user_id: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Rows:
    """All that was read. `anonymous_id` is the id that was asked for, where it is one; `ties` and `edge_facts` are in
    order of time."""

    project_id: str
    policy: Policy = "interval"
    max_users: int = 10
    anonymous_id: str | None = None
    memberships: Sequence[Membership] = ()
    ties: Sequence[Tie] = ()
    edge_facts: Sequence[EdgeFact] = ()
    done: Sequence[Done] = ()
    refused: Sequence[Refused] = ()
