"""What the events of one partition are decided by: the ids that were seen, and the identity table.

Both are derived from logs, `events.stitched` and the table's changelog, and each has a position in its own. State that
is behind is brought up to the ends of the logs before anything is decided: at the first batch, where another worker
may have written, and where a batch failed half way.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from broker.log import LogReader
from pipeline.decision import Decision
from pipeline.dedupe import SLACK_S, SeenIds, id_text, seen_id, seen_ids
from pipeline.receipts import Receipts
from topics.names import IDENTITY_CHANGELOG, STITCHED
from topics.records import UNREADABLE, RawRecord
from topics.stitched import Receipt, decode_receipt

logger = logging.getLogger(__name__)


class PartitionState:
    """`catch_up` raises BrokerUnavailable; a retry is safe."""

    def __init__(self, partition: int, log: LogReader, window_s: float, dedupe_folder: Path) -> None:
        self.seen: Final = SeenIds(window_s, dedupe_folder)
        self.owners: Final[dict[bytes, bytes]] = {}
        """The rows of the identity table, by the keys of anonymous ids."""
        self._owners_position = 0
        self._partition = partition
        self._log = log
        self._is_behind = True

    def falls_behind(self) -> None:
        """Somebody else may have written to the logs, or we without knowing it."""
        self._is_behind = True

    async def catch_up(self, records: Sequence[RawRecord]) -> None:
        """For these to be decided next."""
        if not self._is_behind:
            return
        self._is_behind = False  # first: an assignment meanwhile puts it back
        if not await self._is_of_these_logs():
            self._begin_with_nothing()
        await self._catch_up_seen(min(record.timestamp for record in records))
        await self._catch_up_owners()
        logger.info(
            "partition %d: caught up, %d ids remembered, %d anonymous ids known",
            self._partition, len(self.seen), len(self.owners),
        )  # fmt: skip

    def remember(self, decision: Decision, changelog_end: int | None, stitched_end: int | None) -> None:
        """Take in a decision that is durable, by the offsets after what it wrote, None where it wrote nothing."""
        self.seen.remember_new(decision.claimed)
        self._take_in(decision.owners.items())
        self._owners_position = self._after(self._owners_position, changelog_end, len(decision.owners)) or 0
        self.seen.position = self._after(self.seen.position, stitched_end, len(decision.stitched))

    async def _catch_up_seen(self, oldest_ms: int) -> None:
        """`oldest_ms`: no event that is decided next was received before (Unix time)."""
        seen, log, partition = self.seen, self._log, self._partition
        window_began_ms = oldest_ms - int((seen.window_s + SLACK_S) * 1000)
        window_began = await log.offset_at(STITCHED, partition, window_began_ms)
        seen.position = max(seen.position or 0, window_began)
        async for stored in log.read(STITCHED, partition, seen.position):
            receipts = [receipt for record in stored if (receipt := _receipt(record)) is not None]
            ids = seen_ids([id_text(receipt.project_id, receipt.message_id) for receipt in receipts])
            seen.remember_all(Receipts.of(ids, [receipt.received_at for receipt in receipts]))
            seen.position = stored[-1].offset + 1

    async def _is_of_these_logs(self) -> bool:
        """Whether the last event before the state's position is there and remembered. It is not where the state on
        disk is of another Kafka, or of a topic that was made anew, or older than what the topic still keeps."""
        seen = self.seen
        if not seen.position:
            return True
        async for stored in self._log.read(STITCHED, self._partition, seen.position - 1):
            last, receipt = stored[0], _receipt(stored[0])
            return (
                receipt is not None
                and last.offset == seen.position - 1
                and seen.has(seen_id(receipt.project_id, receipt.message_id), receipt.received_at)
            )
        return False

    def _begin_with_nothing(self) -> None:
        self.seen.forget()
        self.owners.clear()
        self._owners_position = 0

    async def _catch_up_owners(self) -> None:
        async for changes in self._log.read(IDENTITY_CHANGELOG, self._partition, self._owners_position):
            self._take_in((change.key or b"", change.value) for change in changes)
            self._owners_position = changes[-1].offset + 1

    def _take_in(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        for key, row in rows:
            if row is None:
                self.owners.pop(key, None)
            else:
                self.owners[key] = row

    def _after(self, position: int | None, end: int | None, count: int) -> int | None:
        """The position behind `count` records of our own, whose end is told."""
        if end is None:
            return position
        if position != end - count:
            self._is_behind = True  # somebody else has written in between
            return position
        return end


def _receipt(record: RawRecord) -> Receipt | None:
    try:
        return decode_receipt(record.value or b"")
    except UNREADABLE as error:
        logger.warning("%s %d@%d is not an event: %s", record.topic, record.partition, record.offset, error)
        return None
