"""What batches come to, gathered and inserted into the replay's tables, as the sinks of live do it.

It guarantees that frames are written after their rows are stored, that an insert that is tried again repeats the same
rows under the same token, and that a row that the store refuses becomes a dead letter.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from uuid import uuid4

import tenacity

from pipeline.dead_letters import dead_letter, row
from pipeline.decision import Decision
from pipeline.outcome import Rejected
from pipeline.rows import rows_of_each
from replay.partition import Decided
from store import tables
from store.client import Store
from store.errors import BadRows, StoreUnavailable
from store.tables import EDGES, EVENTS, LINKS, REJECTED
from topics import names
from topics.raw import read_stamp
from topics.records import UNREADABLE, PlacedRecord, RawRecord, Record
from topics.rejected import Reason
from topics.stitched import decode_receipt
from topics.written import Written

_TOPIC: Final = {EVENTS: names.STITCHED, LINKS: names.LINKS, EDGES: names.MERGES, REJECTED: names.REJECTED}
_KNOWN: Final = f"""
SELECT source_partition, source_offset, detail FROM {REJECTED}
WHERE project_id = {{project:String}} AND message_id = {{message:String}}
    AND step = 'sink' AND source_topic = {{topic:String}}
ORDER BY source_offset LIMIT 1
"""


@dataclass(slots=True)
class Outputs:
    """What is to be inserted at once."""

    decided: list[Decided] = field(default_factory=list)
    rows: int = 0
    size: int = 0

    def add(self, decided: Decided) -> None:
        self.decided.append(decided)
        for decision in decided.decisions:
            self.rows += len(decision.stitched) + len(decision.links) + len(decision.rejected)
            self.size += sum([len(value or b"") for _, value, _, _ in decision.stitched])

    def is_full(self, max_rows: int, max_bytes: int) -> bool:
        return self.rows >= max_rows or self.size >= max_bytes

    def of(self, table: str) -> list[Record]:
        """The records that live would publish."""
        decisions = (decision for decided in self.decided for decision in decided.decisions)
        return [record for decision in decisions for record in _records(decision, table)]


class Inserter:
    """Inserts into `shadow`; `live` is asked where it has put what the store refused, and `as_live` is what of the
    store's words about that is said otherwise there. Waits for a store that is away or full for `patience_s`. Every
    method raises StoreError."""

    def __init__(self, shadow: Store, live: Store, as_live: tuple[str, str], patience_s: float) -> None:
        self._shadow = shadow
        self._live = live
        self._as_live = as_live
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StoreUnavailable),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
            stop=tenacity.stop_after_delay(patience_s),
            reraise=True,
        )

    def insert(self, outputs: Outputs) -> None:
        """Returns when all is stored. Safe to repeat."""
        token = uuid4().hex
        refused: list[_Refused] = []
        for table in (LINKS, EDGES, EVENTS):
            refused += self._insert(table, outputs.of(table), f"{token}/{table}")
        letters = outputs.of(REJECTED) + [self._letter(outputs, *each) for each in refused]
        self._insert(REJECTED, letters, f"{token}/{REJECTED}")

    def _insert(self, table: str, records: Sequence[Record], token: str) -> list["_Refused"]:
        """Store what can be; the rest, found by halving, is answered."""
        if not records:
            return []
        try:
            self._retrying(self._shadow.insert, table, _rows(table, records), token)
        except BadRows as error:
            if table == REJECTED:
                raise  # the row of a dead letter is of our own making
            if len(records) == 1:
                return [(table, records[0], f"code {error.code}: {error}".replace(*self._as_live))]
            middle = len(records) // 2
            first = self._insert(table, records[:middle], f"{token}<")
            return first + self._insert(table, records[middle:], f"{token}>")
        return []

    def _letter(self, outputs: Outputs, table: str, record: Record, why: str) -> Record:
        """The dead letter of a row: at the place where live has put it, or else at that of the record it came of."""
        key, value, timestamp, headers = record
        receipt = decode_receipt(value or b"")
        asked = {"project": receipt.project_id, "message": receipt.message_id, "topic": _TOPIC[table]}
        known = [(at["source_partition"], at["source_offset"], at["detail"]) for at in self._live.query(_KNOWN, asked)]
        place = _place(outputs, receipt.project_id, receipt.message_id)
        partition, offset, why = known[0] if known else (*place, why)
        placed = PlacedRecord(_TOPIC[table], partition, offset, timestamp, key, value, headers)
        return dead_letter(placed, Rejected("sink", Reason.STORE_REFUSED, why))


_Refused: TypeAlias = tuple[str, Record, str]
"""A row that a table of the store does not take, as its record, and what the store said."""


def _rows(table: str, records: Sequence[Record]) -> list[bytes]:
    """They lie in no topic, and no row says where its record lies."""
    unplaced = Written(_TOPIC[table], -1, 0, records)
    return rows_of_each(row)(unplaced) if table == REJECTED else unplaced.values()


def _place(outputs: Outputs, project_id: str, message_id: str) -> tuple[int, int]:
    """Of the first record of this message among those that the rows came of."""
    for decided in outputs.decided:
        for record in decided.records:
            if _is_of(record, project_id, message_id):
                return record.partition, record.offset
    raise AssertionError(f"no record of {project_id} {message_id}")


def _is_of(record: RawRecord, project_id: str, message_id: str) -> bool:
    try:
        stamp = read_stamp(record.headers)
    except UNREADABLE:
        return False
    return stamp.project_id == project_id and stamp.message_id == message_id


def _records(decision: Decision, table: str) -> Iterable[Record]:
    match table:
        case tables.EVENTS:
            return decision.stitched
        case tables.LINKS:
            return decision.links
        case tables.EDGES:
            return [record for records in decision.edges.values() for record in records]
        case _:
            return decision.rejected
