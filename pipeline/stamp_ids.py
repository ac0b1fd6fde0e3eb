"""What raw records are remembered by, told from their stamps alone: before anybody has read what they say.

So all ids of a batch are looked for at once, and each record is then read, decided and written while it is in the
processor's cache.
"""

from collections.abc import Sequence
from typing import Protocol

from pipeline.dedupe import id_text, seen_ids
from topics.raw import read_stamp
from topics.records import UNREADABLE, RawRecord


class Receipts(Protocol):
    def receipts(self) -> tuple[list[bytes | None], list[float]]: ...


def stamp_ids(records: Sequence[RawRecord], batch: Receipts) -> tuple[list[bytes], list[float]]:
    """The id of each record, as `pipeline.dedupe.seen_id`, and its receipt in Unix seconds. What has no stamp, and is
    no event either, has an id that no event has. `batch` tells those of plain stamps."""
    texts, received_at = batch.receipts()
    told: list[bytes] = []
    for row, text in enumerate(texts):
        if text is None:
            text, received_at[row] = _receipt(records[row])
        told.append(text)
    return seen_ids(told), received_at


def _receipt(record: RawRecord) -> tuple[bytes, float]:
    try:
        stamp = read_stamp(record.headers)
    except UNREADABLE:
        return b"", 0.0
    return id_text(stamp.project_id, stamp.message_id), stamp.received_at_ms / 1000
