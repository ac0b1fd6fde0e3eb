"""The stitch agent's decision over one record batch: validate, dedupe, link, stitch, as pure steps.

What arrives: the records of one poll of one partition of `events.raw`, the ids stored before, and the owners known so
far. What leaves: a `Decision`, which says all that is to be published and remembered, and has done nothing yet. The
same records after the same state give the same decision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import msgspec

from pipeline import dead_letters, identity, reserved
from pipeline.dedupe import SeenIds, seen_id
from pipeline.identity import Ownership
from pipeline.outcome import DropCause, Dropped, Rejected
from pipeline.rules import Rules
from pipeline.validate import SYNTHETIC_PREFIX, validate
from topics import links, stitched
from topics.keys import anonymous_key
from topics.links import LinkFact, LinkKind
from topics.records import RawRecord, Record
from topics.stitched import StitchedEvent


@dataclass(slots=True)
class Decision:
    """What one batch comes to. `stitched`, `links` and `rejected` are records for their topics, on the batch's own
    partition; `owners` the rows of the identity table that change; `claimed` the ids to remember once all that is
    durable, each with its receipt in Unix seconds."""

    stitched: list[Record] = field(default_factory=list)
    links: list[Record] = field(default_factory=list)
    rejected: list[Record] = field(default_factory=list)
    owners: dict[bytes, bytes] = field(default_factory=dict)
    claimed: dict[bytes, float] = field(default_factory=dict)
    duplicates: int = 0


def decide(records: Sequence[RawRecord], seen: SeenIds, stored_owners: Mapping[bytes, bytes], rules: Rules) -> Decision:
    """Take a batch through all steps. Nothing that is passed in is changed."""
    decision, owners = Decision(), _Owners(stored_owners)
    for record in records:
        outcome = _new_event(record, seen, decision.claimed, rules)
        match outcome:
            case StitchedEvent():
                fact = link_fact(outcome, rules)
                if fact is not None:
                    owners.learn(fact, rules)
                    decision.links.append((record.key, links.encode(fact), record.timestamp, ()))
                event = _attributed(outcome, owners, rules)
                decision.stitched.append((record.key, stitched.encode(event), record.timestamp, ()))
            case Rejected():
                decision.rejected.append(dead_letters.dead_letter(record, outcome))
            case Dropped():
                decision.duplicates += 1
            case _:
                assert_never(outcome)
    decision.owners = owners.changed()
    return decision


def link_fact(event: StitchedEvent, rules: Rules) -> LinkFact | None:
    """The fact that the event states of its anonymous id, if any: derived from the message, never from state."""
    anonymous_id = event.anonymous_id
    if anonymous_id is None or anonymous_id.startswith(SYNTHETIC_PREFIX):
        return None
    if event.event_name == reserved.RESET:
        user_id, kind = None, LinkKind.RESET
    elif event.user_id is None:
        return None
    elif event.type == "identify":
        user_id, kind = event.user_id, LinkKind.EXACT
    elif rules.of(event.project_id).implicit_links:
        user_id, kind = event.user_id, LinkKind.IMPLICIT
    else:
        return None
    return LinkFact(
        project_id=event.project_id,
        anonymous_id=anonymous_id,
        user_id=user_id,
        timestamp=event.timestamp,
        message_id=event.message_id,
        kind=kind,
        received_at=event.received_at,
    )


def _new_event(
    record: RawRecord, seen: SeenIds, claimed: dict[bytes, float], rules: Rules
) -> StitchedEvent | Rejected | Dropped:
    event = validate(record, rules)
    if isinstance(event, Rejected):
        return event
    this_id = seen_id(event.project_id, event.message_id)
    if seen.has(this_id, event.received_at) or seen.repeats(claimed.get(this_id), event.received_at):
        return Dropped(DropCause.DUPLICATE)
    claimed[this_id] = event.received_at
    return event


def _attributed(event: StitchedEvent, owners: "_Owners", rules: Rules) -> StitchedEvent:
    if event.user_id is not None or event.anonymous_id is None:
        return event
    state = owners.of(event.project_id, event.anonymous_id)
    if state is identity.NOBODY:
        return event
    max_users = rules.of(event.project_id).max_users
    owner = identity.owner_at(state, event.timestamp, event.message_id, max_users)
    return event if owner is None else msgspec.structs.replace(event, stitched_user_id=owner)


class _Owners:
    """The identity table as one batch sees it: what is stored, and over it what this batch has learnt."""

    def __init__(self, stored: Mapping[bytes, bytes]) -> None:
        self._stored = stored
        self._known: dict[bytes, Ownership] = {}
        self._changed: set[bytes] = set()

    def of(self, project_id: str, anonymous_id: str) -> Ownership:
        return self._at(anonymous_key(project_id, anonymous_id))

    def learn(self, fact: LinkFact, rules: Rules) -> None:
        key = anonymous_key(fact.project_id, fact.anonymous_id)
        before = self._at(key)
        after = identity.with_fact(before, fact, rules.of(fact.project_id).max_users)
        if after is not before:
            self._known[key] = after
            self._changed.add(key)

    def changed(self) -> dict[bytes, bytes]:
        return {key: identity.encode(self._known[key]) for key in sorted(self._changed)}

    def _at(self, key: bytes) -> Ownership:
        known = self._known.get(key)
        if known is None:
            value = self._stored.get(key)
            known = self._known[key] = identity.decode(value) if value else identity.NOBODY
        return known
