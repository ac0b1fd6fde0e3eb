"""What stands for the compiled part where whipstitch was installed without a C compiler: no record is plain."""

from collections.abc import Sequence

from pipeline.claims import Claims
from pipeline.decision import Decision
from pipeline.owners import Owners
from pipeline.receipts import Receipts
from topics.records import RawRecord


class PlainBatch:
    """The records of one batch that are plain, of at most `max_event_bytes` each."""

    def __init__(self, records: Sequence[RawRecord], max_event_bytes: int) -> None:
        self._count = len(records)

    def receipts(self) -> tuple[Receipts, list[int]]:
        """Of each record its `pipeline.dedupe.seen_id` and when it was received; and the rows of which neither is told,
        as their stamps are not plain."""
        return Receipts.blank(self._count), [*range(self._count)]

    def take(self, row: int, claims: Claims | None, owners: Owners | None, decision: Decision) -> int:
        """Take the records from `row` on through all steps, up to the first that is not plain, whose row it returns;
        that behind the last where all are. None stands for no dedupe, and for no identity."""
        return row
