"""What raw records are remembered by, told from their stamps alone: before anybody has read what they say.

So all ids of a batch are looked for at once, and each record is then read, decided and written while it is in the
processor's cache.
"""

from collections.abc import Sequence

from pipeline.dedupe import seen_id, seen_ids
from pipeline.without_compiler import PlainBatch
from topics.raw import read_stamp
from topics.records import UNREADABLE, RawRecord

[_NO_ID] = seen_ids([b""])  # any event's text has a NUL at least


def stamp_ids(records: Sequence[RawRecord], batch: PlainBatch) -> tuple[list[bytes], list[float]]:
    """The id of each record, as `pipeline.dedupe.seen_id`, and its receipt in Unix seconds. What has no stamp, and is
    no event either, has an id that no event has. `batch` tells those of plain stamps."""
    ids, received_at, untold = batch.receipts()
    for row in untold:
        ids[row], received_at[row] = _receipt(records[row])
    return ids, received_at


def _receipt(record: RawRecord) -> tuple[bytes, float]:
    try:
        stamp = read_stamp(record.headers)
    except UNREADABLE:
        return _NO_ID, 0.0
    return seen_id(stamp.project_id, stamp.message_id), stamp.received_at_ms / 1000
