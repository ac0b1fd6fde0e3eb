"""The stitch agent's decision over one record batch: validate, dedupe, link, stitch, as pure steps.

What arrives: the records of one poll of one partition of `events.raw`, the ids stored before, and the owners known so
far. What leaves: a `Decision`, which says all that is to be published and remembered, and has done nothing yet. The
same records after the same state give the same decision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from msgspec.structs import force_setattr

from pipeline import dead_letters
from pipeline.dedupe import SeenIds
from pipeline.evidence import NOTHING, Evidence, evidence
from pipeline.outcome import Rejected
from pipeline.owners import Owners, ProjectOwners
from pipeline.rules import Rules
from pipeline.stamp_ids import stamp_ids
from pipeline.validate import event_of
from topics import edges, links, stitched
from topics.orders import Correct, Forget, order_of
from topics.records import RawRecord, Record
from topics.rejected import Reason
from topics.stitched import Event, PlainEvent, StitchedEvent


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
    decision, owners = Decision(), Owners(stored_owners, rules)
    claimed = decision.claimed
    ids, received_at = stamp_ids(records)
    # All ids are looked for at once, which costs a tenth of one after another.
    for record, this_id, at, is_known in zip(records, ids, received_at, seen.known(ids, received_at), strict=True):
        match event_of(record, rules):
            case (PlainEvent() | StitchedEvent()) as event:
                if is_known or (this_id in claimed and seen.is_claimed(this_id, at, claimed)):
                    decision.duplicates += 1
                else:
                    claimed[this_id] = at
                    _take_event(event, record, owners.of(event.project_id), decision)
            case Rejected() as refused:
                _take_order(refused, record, owners, decision)
            case other:
                assert_never(other)
    decision.owners = owners.changed()
    return decision


def _take_event(event: Event, record: RawRecord, owners: ProjectOwners, decision: Decision) -> None:
    is_anonymous = event.user_id is None
    if not (is_anonymous and isinstance(event, PlainEvent)):  # such an event says nothing, and most are such
        said = evidence(event, owners.rules)
        if said is not NOTHING:
            _take_in(said, event, record, owners, decision)
    if is_anonymous and event.anonymous_id is not None:
        owner = owners.owner_at(event.anonymous_id, event)
        if owner is not None:
            # It was made for this decision and is nobody else's yet: a copy of its 19 fields would cost 2 % of it.
            force_setattr(event, "stitched_user_id", owner)
    decision.stitched.append((record.key, stitched.encode(event), record.timestamp, ()))


def _take_order(refused: Rejected, record: RawRecord, owners: Owners, decision: Decision) -> None:
    """What is no event may be an order about the identity table."""
    match order_of(record):
        case Forget() as forget:
            owners.of(forget.project_id).forget(forget)
        case Correct() as correction:
            owners.of(correction.project_id).correct(correction)
        case None:
            decision.rejected.append(dead_letters.dead_letter(record, refused))
        case other:
            assert_never(other)


def _take_in(said: Evidence, event: Event, record: RawRecord, owners: ProjectOwners, decision: Decision) -> None:
    """Publish what an event says of who is who. What it says of its own anonymous id is kept here too: of another id
    another partition keeps the state."""
    for link in said.links:
        decision.links.append((record.key, links.encode(link), record.timestamp, ()))
        if link.anonymous_id == event.anonymous_id:
            if link.kind is links.FIRST and owners.already_merged(link):
                decision.rejected.append(dead_letters.dead_letter(record, _ALREADY_MERGED))
            owners.learn(link)
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
