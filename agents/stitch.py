"""The stitch agent: batches of `events.raw` in; `events.stitched`, facts and dead letters out.

It guarantees that a batch's offset is committed only after all it led to is durable, and that an id counts as seen
only once its event is in `events.stitched`, which is the log that the dedupe state is rebuilt from.
"""

import logging
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path

from agents.failure import StandDown
from broker.log import LogReader
from broker.producer import DurableProducer
from pipeline.dedupe import SLACK_S, SeenIds, seen_id
from pipeline.rejection_limit import RejectionLimit, refused_by_sender
from pipeline.rules import Rules
from pipeline.stitch import Decision, decide
from topics.keys import partition_of
from topics.names import IDENTITY_CHANGELOG, LINKS, MERGES, REJECTED, STITCHED
from topics.records import UNREADABLE, RawRecord, Record
from topics.stitched import Receipt, decode_receipt

logger = logging.getLogger(__name__)


class Stitcher:
    """The state of the partitions that this worker holds, and the order in which a batch is settled."""

    def __init__(
        self,
        producer: DurableProducer,
        log: LogReader,
        owners: MutableMapping[bytes, bytes],
        rules: Callable[[], Rules],
        window_s: float,
        partitions: int,
        dedupe_folder: Path,
        rejections: RejectionLimit,
        written: Callable[[str, int, int, Sequence[Record]], None],
    ) -> None:
        """`written` is told of what is durable: its topic and partition, the offset after it, and the records."""
        self._producer = producer
        self._log = log
        self._owners = owners
        self._rules = rules
        self._window_s = window_s
        self._partitions = partitions
        self._dedupe_folder = dedupe_folder
        self._rejections = rejections
        self._written = written
        self._seen: dict[int, SeenIds] = {}
        self._behind: set[int] = set()

    def assigned(self, partitions: set[int]) -> None:
        """These partitions are ours now, and no others. Another worker may have written in between: catch up first."""
        for partition in self._seen.keys() - partitions:
            self._seen.pop(partition).checkpoint()
        self._behind = set(partitions)

    async def close(self) -> None:
        """Save the dedupe state, so that the next start need not read its last ids back from the log."""
        for seen in self._seen.values():
            seen.checkpoint()

    async def settle(self, partition: int, records: Sequence[RawRecord]) -> Decision:
        """Take one batch from raw records to durable outputs and remembered state.

        Raises StandDown where too much is refused; all of it is durable. Raises BrokerUnavailable: then some outputs
        may be durable, none is remembered, and calling it again is safe,
        as it begins by reading what became durable.
        """
        try:
            return await self._settle(partition, records)
        except BaseException:
            self._behind.add(partition)  # some of it may be durable: read the log before deciding again
            raise

    async def _settle(self, partition: int, records: Sequence[RawRecord]) -> Decision:
        # Step 1. Bring the partition's ids up to the log, where anyone else may have written to it.
        seen = await self._caught_up(partition, records)
        # Step 2. Decide. Nothing has happened yet.
        decision = decide(records, seen, self._owners, self._rules())
        # Step 3. Facts and dead letters first. A crash after this repeats them, which changes nothing; in the other
        # order a crash would lose them, for the next attempt finds their events to be duplicates.
        await self._publish(LINKS, partition, decision.links)
        await self._publish_edges(decision.edges)
        await self._publish(IDENTITY_CHANGELOG, partition, _changelog(decision, records[-1].timestamp))
        await self._publish(REJECTED, partition, decision.rejected)
        # Step 4. The events, and with them the claim on their ids.
        end = await self._publish(STITCHED, partition, decision.stitched)
        # Step 5. Only now remember.
        self._remember(partition, seen, decision, end)
        # Step 6. Where most of what comes is refused, something of ours is wrong: stop before more of it is.
        self._stop_if_too_much_is_refused(decision)
        return decision

    async def _publish(self, topic: str, partition: int, records: Sequence[Record]) -> int | None:
        if not records:
            return None
        end = await self._producer.send(topic, partition, records)
        self._written(topic, partition, end, records)
        return end

    async def _publish_edges(self, edges: Mapping[str, Sequence[Record]]) -> None:
        """Each project's to its own partition, whose one writer of persons sees them all."""
        for project_id, records in edges.items():
            await self._publish(MERGES, partition_of(project_id.encode(), self._partitions), records)

    def _stop_if_too_much_is_refused(self, decision: Decision) -> None:
        refused = refused_by_sender(decision.rejected)
        accepted = len(decision.stitched) + decision.duplicates
        exceeded = self._rejections.add(accepted, refused, time.monotonic())
        if exceeded:
            raise StandDown(str(exceeded))

    def _remember(self, partition: int, seen: SeenIds, decision: Decision, end: int | None) -> None:
        seen.remember_new(decision.claimed)
        for key, value in decision.owners.items():
            if value is None:
                self._owners.pop(key, None)
            else:
                self._owners[key] = value
        if end is None:
            return
        if seen.position == end - len(decision.stitched):
            seen.position = end
        else:
            self._behind.add(partition)  # somebody else has written in between

    async def _caught_up(self, partition: int, records: Sequence[RawRecord]) -> SeenIds:
        seen = self._seen.get(partition)
        if seen is None:
            seen = self._seen[partition] = SeenIds(self._window_s, self._dedupe_folder / str(partition))
        if partition not in self._behind:
            return seen
        self._behind.discard(partition)  # first: an assignment meanwhile puts it back
        if not await self._is_of_this_log(seen, partition):
            seen.forget()
        window_began_ms = min(record.timestamp for record in records) - int((self._window_s + SLACK_S) * 1000)
        window_began = await self._log.offset_at(STITCHED, partition, window_began_ms)
        seen.position = max(seen.position or 0, window_began)
        async for stored in self._log.read(STITCHED, partition, seen.position):
            receipts = [receipt for record in stored if (receipt := _receipt(record)) is not None]
            ids = [seen_id(receipt.project_id, receipt.message_id) for receipt in receipts]
            seen.remember_all(ids, [receipt.received_at for receipt in receipts])
            seen.position = stored[-1].offset + 1
        logger.info("partition %d: caught up with %s, %d ids remembered", partition, STITCHED, len(seen))
        return seen

    async def _is_of_this_log(self, seen: SeenIds, partition: int) -> bool:
        """Whether the last record before the state's position is there and remembered. It is not where the state on
        disk is of another Kafka, or of a topic that was made anew, or older than what the topic still keeps."""
        if not seen.position:
            return True
        async for stored in self._log.read(STITCHED, partition, seen.position - 1):
            last, receipt = stored[0], _receipt(stored[0])
            return (
                receipt is not None
                and last.offset == seen.position - 1
                and seen.has(seen_id(receipt.project_id, receipt.message_id), receipt.received_at)
            )
        return False


def _changelog(decision: Decision, timestamp_ms: int) -> list[Record]:
    return [(key, value, timestamp_ms, ()) for key, value in decision.owners.items()]


def _receipt(record: RawRecord) -> Receipt | None:
    try:
        return decode_receipt(record.value or b"")
    except UNREADABLE as error:
        logger.warning("%s %d@%d is not an event: %s", record.topic, record.partition, record.offset, error)
        return None
