"""What raw records are remembered by, told from their stamps alone: before anybody has read what they say.

So all ids of a batch are looked for at once, and each record is then read, decided and written while it is in the
processor's cache.
"""

from collections.abc import Sequence
from typing import Final

from pipeline.dedupe import id_text, seen_ids
from pipeline.receipts import Receipts
from pipeline.without_compiler import PlainBatch
from topics.raw import read_stamp
from topics.records import UNREADABLE, RawRecord

_NO_EVENT: Final = b""  # any event's text has a NUL at least


def stamp_ids(records: Sequence[RawRecord], batch: PlainBatch) -> Receipts:
    """The id of each record, as `pipeline.dedupe.seen_id`, and its receipt. What has no stamp, and is no event either,
    has an id that no event has. `batch` tells those of plain stamps."""
    receipts, untold = batch.receipts()
    if untold:
        texts, received_at_ms = zip(*(_receipt(records[row]) for row in untold), strict=True)
        receipts.fill_in(untold, seen_ids(texts), received_at_ms)
    return receipts


def _receipt(record: RawRecord) -> tuple[bytes, int]:
    try:
        stamp = read_stamp(record.headers)
    except UNREADABLE:
        return _NO_EVENT, 0
    return id_text(stamp.project_id, stamp.message_id), stamp.received_at_ms
