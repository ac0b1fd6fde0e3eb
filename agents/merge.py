"""The merge agent: facts that tie users in; which users are one person, and what changed, out.

One worker holds a partition of `identity.merges`, and with it all facts of its projects. Its state is in the
logs, read whole at each assignment: they are small, as people are seldom merged.
"""

import logging
from collections.abc import Callable, Sequence

from broker.log import LogReader
from broker.producer import DurableProducer
from pipeline.merges import Merges
from pipeline.rules import Rules
from topics.names import CHANGES, MERGES, PERSONS
from topics.records import RawRecord

logger = logging.getLogger(__name__)


class Merger:
    """The state of the partitions that this worker holds, and the order in which a batch is settled."""

    def __init__(self, producer: DurableProducer, log: LogReader, rules: Callable[[], Rules]) -> None:
        self._producer = producer
        self._log = log
        self._rules = rules
        self._merges: dict[int, Merges] = {}

    def assigned(self) -> None:
        """Another worker may have written in between: read the logs again."""
        self._merges = {}

    async def settle(self, partition: int, records: Sequence[RawRecord]) -> None:
        """Take one batch from facts to durable steps and remembered state.

        Raises BrokerUnavailable: then some outputs may be durable, and calling it again is safe, as it begins by
        reading what became durable.
        """
        while not await self._settle(partition, records):
            logger.warning("%s %d: somebody else wrote in between; looking again", PERSONS, partition)

    async def _settle(self, partition: int, records: Sequence[RawRecord]) -> bool:
        """Whether nobody else wrote in between."""
        # Step 1. The state as it was left, or as the logs say. Until the end of this it is not to be trusted.
        kept = self._merges
        merges = kept.pop(partition, None) or await self._from_logs(partition)
        # Step 2. Learn the facts, and compare with what is published.
        decision = merges.decide(records, self._rules())
        # Step 3. Changes first: what is in `identity.persons` counts as told, and a change without its steps is found.
        if decision.changes:
            await self._producer.send(CHANGES, partition, decision.changes)
        end = await self._producer.send(PERSONS, partition, decision.steps) if decision.steps else merges.position
        if end != merges.position + len(decision.steps):
            return False
        # Step 4. Only now remember, where no assignment has come meanwhile.
        merges.remember(decision)
        kept[partition] = merges
        return True

    async def _from_logs(self, partition: int) -> Merges:
        end = await self._log.end(PERSONS, partition)
        published = [record async for batch in self._log.read(PERSONS, partition, 0) for record in batch]
        told = [record async for batch in self._log.read(CHANGES, partition, 0) for record in batch]
        merges = Merges(published, end, told)
        facts = 0
        async for batch in self._log.read(MERGES, partition, 0):
            merges.learn(batch)
            facts += len(batch)
        logger.info("partition %d: %d facts of %s, %d steps", partition, facts, MERGES, len(published))
        return merges
