"""The stitch agent's decision over one record batch: validate, dedupe, link, stitch, as pure steps.

What arrives: the records of one poll of one partition of `events.raw`, the ids stored before, and the owners known so
far. What leaves: a `Decision`, which says all that is to be published and remembered, and has done nothing yet. The
same records after the same state give the same decision.

This is what is done with any record. Most are plain, and are taken through the same steps in compiled code
(`pipeline/plain_batch.pyx`); what comes out is the same.
"""

from collections.abc import Mapping, Sequence
from typing import Final, assert_never

from msgspec.structs import replace

from pipeline import dead_letters
from pipeline.claims import Claims
from pipeline.decision import Decision
from pipeline.dedupe import SeenIds
from pipeline.evidence import NOTHING, Evidence, evidence
from pipeline.outcome import Rejected
from pipeline.owners import Owners, ProjectOwners
from pipeline.rules import Rules
from pipeline.stamp_ids import stamp_ids
from pipeline.validate import validate
from topics import edges, links, stitched
from topics.orders import Correct, Forget, order_of
from topics.records import RawRecord
from topics.rejected import Reason
from topics.stitched import StitchedEvent

try:
    from pipeline.plain_batch import PlainBatch as PlainBatch
except ImportError:  # whipstitch was installed where there is no C compiler
    from pipeline.without_compiler import PlainBatch as PlainBatch


def decide(records: Sequence[RawRecord], seen: SeenIds, stored_owners: Mapping[bytes, bytes], rules: Rules) -> Decision:
    """Take a batch through all steps. Nothing that is passed in is changed."""
    decision, owners = Decision(), Owners(stored_owners, rules)
    batch = PlainBatch(records, rules.max_event_bytes)
    claims = Claims(seen, stamp_ids(records, batch))
    row = 0
    while (row := batch.take(row, claims, owners, decision)) < len(records):
        _take(row, records[row], claims, owners, rules, decision)
        row += 1
    decision.owners, decision.claimed = owners.changed(), claims.claimed.receipts()
    return decision


def _take(row: int, record: RawRecord, claims: Claims, owners: Owners, rules: Rules, decision: Decision) -> None:
    match validate(record, rules):
        case StitchedEvent() as event:
            if claims.claim(row):
                _take_event(event, record, owners.of(event.project_id), decision)
            else:
                decision.duplicates += 1
        case Rejected() as refused:
            _take_order(refused, record, owners, decision)
        case other:
            assert_never(other)


def _take_event(event: StitchedEvent, record: RawRecord, owners: ProjectOwners, decision: Decision) -> None:
    said = evidence(event, owners.rules)
    if said is not NOTHING:
        _take_in(said, event, record, owners, decision)
    if event.user_id is None and event.anonymous_id is not None:
        owner = owners.owner_at(event.anonymous_id, event.timestamp, event.message_id)
        event = event if owner is None else replace(event, stitched_user_id=owner)
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


def _take_in(
    said: Evidence, event: StitchedEvent, record: RawRecord, owners: ProjectOwners, decision: Decision
) -> None:
    """Publish what an event says of who is who. What it says of its own anonymous id is kept here too: of another id
    another partition keeps the state."""
    for link in said.links:
        decision.links.append(record.key, links.encode(link), record.timestamp)
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
