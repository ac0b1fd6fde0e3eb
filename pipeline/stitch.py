"""The stitch agent's decision over one record batch: validate, dedupe, link, stitch, as pure steps.

What arrives: the records of one poll of one partition of `events.raw`, the ids stored before, and the owners known so
far. What leaves: a `Decision`, which says all that is to be published and remembered, and has done nothing yet. The
same records after the same state give the same decision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, assert_never

from msgspec import UNSET, UnsetType
from msgspec.structs import force_setattr

from pipeline import dead_letters, identity
from pipeline.dedupe import SeenIds, seen_id
from pipeline.evidence import NOTHING, Evidence, evidence
from pipeline.identity import Ownership
from pipeline.outcome import Rejected
from pipeline.rules import ProjectRules, Rules
from pipeline.validate import event_of
from topics import edges, links, stitched
from topics.keys import anonymous_key
from topics.links import LinkFact
from topics.orders import Correct, Forget, order_of
from topics.records import RawRecord, Record
from topics.rejected import Reason
from topics.stitched import Event, PlainEvent, StitchedEvent

_EVENTS: Final = (PlainEvent, StitchedEvent)  # one `isinstance` need not make them one type first


@dataclass(slots=True)
class Decision:
    """What one batch comes to. `stitched`, `links` and `rejected` are records for their topics, on the batch's own
    partition; `edges` those of `identity.merges`, by project; `owners` the rows of the identity table that change, None
    where one goes; `claimed` the ids to remember once all that is durable, each with its receipt in Unix seconds."""

    stitched: list[Record] = field(default_factory=list)
    links: list[Record] = field(default_factory=list)
    edges: dict[str, list[Record]] = field(default_factory=dict)
    rejected: list[Record] = field(default_factory=list)
    owners: dict[bytes, bytes | None] = field(default_factory=dict)
    claimed: dict[bytes, float] = field(default_factory=dict)
    duplicates: int = 0


def decide(records: Sequence[RawRecord], seen: SeenIds, stored_owners: Mapping[bytes, bytes], rules: Rules) -> Decision:
    """Take a batch through all steps. Nothing that is passed in is changed."""
    decision, owners = Decision(), _Owners(stored_owners)
    outcomes = [event_of(record, rules) for record in records]
    events = [outcome for outcome in outcomes if isinstance(outcome, _EVENTS)]
    is_new = iter(_are_new(events, seen, decision.claimed))
    for record, outcome in zip(records, outcomes, strict=True):
        match outcome:
            case PlainEvent() | StitchedEvent():
                if next(is_new):
                    _take_event(outcome, record, owners, rules.of(outcome.project_id), decision)
                else:
                    decision.duplicates += 1
            case Rejected():
                _take_order(outcome, record, owners, rules, decision)
            case _:
                assert_never(outcome)
    decision.owners = owners.changed()
    return decision


def _are_new(events: Sequence[Event], seen: SeenIds, claimed: dict[bytes, float]) -> list[bool]:
    """Which events are no duplicates; their ids are `claimed`. All ids are looked for at once, which costs a tenth of
    one after another."""
    ids = [seen_id(event.project_id, event.message_id) for event in events]
    received_at = [event.received_at for event in events]
    are_new = []
    for this_id, at, is_known in zip(ids, received_at, seen.known(ids, received_at), strict=True):
        is_new = not is_known and not (this_id in claimed and seen.repeats(claimed[this_id], at))
        if is_new:
            claimed[this_id] = at
        are_new.append(is_new)
    return are_new


def _take_event(event: Event, record: RawRecord, owners: "_Owners", project: ProjectRules, decision: Decision) -> None:
    said = evidence(event, project)
    if said is not NOTHING:
        _take_in(said, event, record, owners, project, decision)
    if event.user_id is None and event.anonymous_id is not None:
        owner = owners.at(event, event.anonymous_id, project)
        if owner is not None:
            # It was made for this decision and is nobody else's yet: a copy of its 19 fields would cost 2 % of it.
            force_setattr(event, "stitched_user_id", owner)
    decision.stitched.append((record.key, stitched.encode(event), record.timestamp, ()))


def _take_order(refused: Rejected, record: RawRecord, owners: "_Owners", rules: Rules, decision: Decision) -> None:
    """What is no event may be an order about the identity table."""
    match order_of(record):
        case Forget() as forget:
            owners.forget(forget)
        case Correct() as correction:
            owners.correct(correction, rules.of(correction.project_id))
        case None:
            decision.rejected.append(dead_letters.dead_letter(record, refused))
        case other:
            assert_never(other)


def _take_in(
    said: Evidence,
    event: Event,
    record: RawRecord,
    owners: "_Owners",
    project: ProjectRules,
    decision: Decision,
) -> None:
    """Publish what an event says of who is who. What it says of its own anonymous id is kept here too: of another id
    another partition keeps the state."""
    for link in said.links:
        decision.links.append((record.key, links.encode(link), record.timestamp, ()))
        if link.anonymous_id == event.anonymous_id:
            if link.kind is links.FIRST and owners.already_merged(link):
                decision.rejected.append(dead_letters.dead_letter(record, _ALREADY_MERGED))
            owners.learn(link, project)
    for edge in said.edges:
        records = decision.edges.setdefault(edge.project_id, [])
        records.append((edges.record_key(edge), edges.encode(edge), record.timestamp, ()))
    for refused in said.refused:
        decision.rejected.append(dead_letters.dead_letter(record, refused))


_ALREADY_MERGED: Final = Rejected(
    "link",
    Reason.ALREADY_MERGED,
    "$anon_id belongs to another user already: the event is kept, the link does not count",
)


_Id: TypeAlias = tuple[str, str]


class _Owners:
    """The identity table as one batch sees it: what is stored, and over it what this batch has learnt. An anonymous id
    is asked for as (project, id)."""

    def __init__(self, stored: Mapping[bytes, bytes]) -> None:
        self._stored = stored
        self._known: dict[_Id, Ownership] = {}
        self._always: dict[_Id, str | UnsetType | None] = {}  # as `identity.owner_always` says, of ids asked for
        self._changed: set[_Id] = set()

    def at(self, event: Event, anonymous_id: str, project: ProjectRules) -> str | None:
        """Who did an anonymous event, as far as is known."""
        asked = event.project_id, anonymous_id
        if asked not in self._always:
            self._always[asked] = identity.owner_always(self._of(asked), project.max_users)
        owner = self._always[asked]
        if owner is UNSET:
            timestamp, message_id = event.timestamp, event.message_id
            return identity.owner_at(self._of(asked), timestamp, message_id, project.max_users, project.policy)
        return owner

    def already_merged(self, fact: LinkFact) -> bool:
        return identity.already_merged(self._of((fact.project_id, fact.anonymous_id)), fact)

    def learn(self, fact: LinkFact, project: ProjectRules) -> None:
        known = fact.project_id, fact.anonymous_id
        self._put(known, identity.with_fact(self._of(known), fact, project.max_users))

    def forget(self, forget: Forget) -> None:
        known = forget.project_id, forget.anonymous_id
        self._put(known, identity.without_users(self._of(known), forget.user_ids))

    def correct(self, correction: Correct, project: ProjectRules) -> None:
        known = correction.project_id, correction.anonymous_id
        self._put(known, identity.corrected(self._of(known), correction.without, correction.facts, project.max_users))

    def changed(self) -> dict[bytes, bytes | None]:
        return {anonymous_key(*known): _encoded(self._known[known]) for known in sorted(self._changed)}

    def _put(self, known: _Id, after: Ownership) -> None:
        if after is not self._known[known]:
            self._known[known] = after
            self._always.pop(known, None)
            self._changed.add(known)

    def _of(self, asked: _Id) -> Ownership:
        known = self._known.get(asked)
        if known is None:
            value = self._stored.get(anonymous_key(*asked))
            known = self._known[asked] = identity.decode(value) if value else identity.NOBODY
        return known


def _encoded(state: Ownership) -> bytes | None:
    return identity.encode(state) if state.points else None
