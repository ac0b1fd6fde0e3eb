"""The stitch agent: batches of `events.raw` in; `events.stitched`, facts and dead letters out.

It guarantees that a batch's offset is committed only after all it led to is durable, and that an id counts as seen
only once its event is in `events.stitched`, which is the log that the dedupe state is rebuilt from.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agents.failure import StandDown
from agents.partition_state import PartitionState
from broker.log import LogReader
from broker.producer import DurableProducer
from pipeline.decision import Decision
from pipeline.rejection_limit import RejectionLimit, refused_by_sender
from pipeline.rules import Rules
from pipeline.stitch import decide
from topics.keys import partition_of
from topics.names import IDENTITY_CHANGELOG, LINKS, MERGES, REJECTED, STITCHED
from topics.records import Output, RawRecord, Record


class Stitcher:
    """The state of the partitions that this worker holds, and the order in which a batch is settled."""

    def __init__(
        self,
        producer: DurableProducer,
        log: LogReader,
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
        self._rules = rules
        self._window_s = window_s
        self._partitions = partitions
        self._dedupe_folder = dedupe_folder
        self._rejections = rejections
        self._written = written
        self._states: dict[int, PartitionState] = {}

    def assigned(self, partitions: set[int]) -> None:
        """These partitions are ours now, and no others. Another worker may have written in between: catch up first."""
        for partition in self._states.keys() - partitions:
            self._states.pop(partition).seen.checkpoint()
        for state in self._states.values():
            state.falls_behind()

    async def close(self) -> None:
        """Save the dedupe state, so that the next start need not read its last ids back from the log."""
        for state in self._states.values():
            state.seen.checkpoint()

    async def settle(self, partition: int, records: Sequence[RawRecord]) -> Decision:
        """Take one batch from raw records to durable outputs and remembered state.

        Raises StandDown where too much is refused; all of it is durable. Raises BrokerUnavailable: then some outputs
        may be durable, none is remembered, and calling it again is safe,
        as it begins by reading what became durable.
        """
        state = self._state(partition)
        try:
            return await self._settle(partition, state, records)
        except BaseException:
            state.falls_behind()  # some of it may be durable: read the logs before deciding again
            raise

    async def _settle(self, partition: int, state: PartitionState, records: Sequence[RawRecord]) -> Decision:
        # Step 1. Bring the partition's state up to its logs, where anyone else may have written to them.
        await state.catch_up(records)
        # Step 2. Decide. Nothing has happened yet.
        decision = decide(records, state.seen, state.owners, self._rules())
        # Step 3. Facts and dead letters first. A crash after this repeats them, which changes nothing; in the other
        # order a crash would lose them, for the next attempt finds their events to be duplicates.
        changelog = _changelog(decision, records[-1].timestamp)
        ends = await self._publish(
            (LINKS, partition, decision.links),
            *self._edges(decision),
            (IDENTITY_CHANGELOG, partition, changelog),
            (REJECTED, partition, decision.rejected),
        )
        # Step 4. The events, and with them the claim on their ids.
        ends |= await self._publish((STITCHED, partition, decision.stitched))
        # Step 5. Only now remember.
        state.remember(decision, ends.get(IDENTITY_CHANGELOG), ends.get(STITCHED))
        # Step 6. Where most of what comes is refused, something of ours is wrong: stop before more of it is.
        self._stop_if_too_much_is_refused(decision)
        return decision

    def _state(self, partition: int) -> PartitionState:
        if partition not in self._states:
            folder = self._dedupe_folder / str(partition)
            self._states[partition] = PartitionState(partition, self._log, self._window_s, folder)
        return self._states[partition]

    async def _publish(self, *outputs: Output) -> dict[str, int]:
        """All of them at once. The offset after each that has records, by topic; of no meaning for `MERGES`."""
        outputs = tuple(output for output in outputs if output[2])
        if not outputs:
            return {}
        ends = {}
        for (topic, partition, records), end in zip(outputs, await self._producer.send_all(outputs), strict=True):
            self._written(topic, partition, end, records)
            ends[topic] = end
        return ends

    def _edges(self, decision: Decision) -> list[Output]:
        """Each project's to its own partition, whose one writer of persons sees them all."""
        by_partition: dict[int, list[Record]] = {}
        for project_id, records in decision.edges.items():
            by_partition.setdefault(partition_of(project_id.encode(), self._partitions), []).extend(records)
        return [(MERGES, partition, records) for partition, records in by_partition.items()]

    def _stop_if_too_much_is_refused(self, decision: Decision) -> None:
        refused = refused_by_sender(decision.rejected)
        accepted = len(decision.stitched) + decision.duplicates
        exceeded = self._rejections.add(accepted, refused, time.monotonic())
        if exceeded:
            raise StandDown(str(exceeded))


def _changelog(decision: Decision, timestamp_ms: int) -> list[Record]:
    return [(key, value, timestamp_ms, ()) for key, value in decision.owners.items()]
