"""What every side does with one event: validate, dedupe, link, stitch. Only where state is kept differs among them.

It is `pipeline.stitch.decide` taken one event at a time, as frameworks that know no batches take it, and made of the
same functions. It does less in one thing: facts about other ids than the event's own, dead letters and the facts' own
topics have no place here, because the sides put out nothing but stitched events.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from pipeline import identity
from pipeline.dedupe import seen_id
from pipeline.evidence import evidence
from pipeline.identity import NOBODY, Ownership
from pipeline.outcome import Rejected
from pipeline.rules import ProjectRules, Rules
from pipeline.validate import validate
from topics import stitched
from topics.control import Project
from topics.keys import anonymous_key
from topics.names import RAW
from topics.records import Headers
from topics.stitched import StitchedEvent

WINDOW_S: Final = 24 * 3600.0
_MAX_EVENT_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Arrived:
    """A record of `events.raw` as validation wants it. Where a record lies is of no consequence to what it says."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    topic: str = RAW
    partition: int = 0
    offset: int = 0
    timestamp: int = 0


class State(Protocol):
    """A framework's own state, as far as the partition of the event at hand needs it."""

    def first_received_at(self, message: bytes) -> float | None:
        """When the message was noted, in Unix seconds; None where it was not, or its window is over."""

    def note(self, message: bytes, received_at: float) -> None: ...

    def ownership(self, anonymous: bytes) -> Ownership: ...

    def own(self, anonymous: bytes, ownership: Ownership) -> None: ...


def rules_of(project_id: str) -> Rules:
    """The rules of a project that has changed none."""
    return Rules([Project(project_id, 0)], max_event_bytes=_MAX_EVENT_BYTES)


def stitched_row(record: Arrived, state: State, rules: Rules) -> bytes | None:
    """The event's row of the store; None where it is a repeat or is refused. The state has it when this returns."""
    event = validate(record, rules)
    if isinstance(event, Rejected):
        return None
    message = seen_id(event.project_id, event.message_id)
    if repeats(state.first_received_at(message), event.received_at):
        return None
    state.note(message, event.received_at)
    return stitched.encode(_stitched(event, state, rules.of(event.project_id)))


def repeats(first_received_at: float | None, received_at: float) -> bool:
    return first_received_at is not None and received_at - first_received_at < WINDOW_S


def learnt(ownership: Ownership, event: StitchedEvent, project: ProjectRules) -> Ownership:
    """The ownership of the event's anonymous id after the event; the very same object where it changes nothing."""
    own = [link for link in evidence(event, project).links if link.anonymous_id == event.anonymous_id]
    return identity.with_facts(ownership, own, project.max_users)


def attributed(ownership: Ownership, event: StitchedEvent, project: ProjectRules) -> StitchedEvent:
    """The event with the user who did it, where it does not say that itself."""
    if event.user_id is not None or ownership is NOBODY or not ownership.points:
        return event
    owner = identity.owner_at(ownership, event.timestamp, event.message_id, project.max_users, project.policy)
    return event if owner is None else msgspec.structs.replace(event, stitched_user_id=owner)


def _stitched(event: StitchedEvent, state: State, project: ProjectRules) -> StitchedEvent:
    if event.anonymous_id is None:
        return event
    anonymous = anonymous_key(event.project_id, event.anonymous_id)
    before = state.ownership(anonymous)
    after = learnt(before, event, project)
    if after is not before:
        state.own(anonymous, after)
    return attributed(after, event, project)
