"""What Kafka and the workers have to do with forgetting a person.

It guarantees that what was received is stored before it is looked for, and that the workers have taken the person out
of their state when `take_out` returns. All of it can be repeated. Every method raises WorkersStandStill,
BrokerUnavailable or BrokerRefused.
"""

import asyncio
import time
from collections.abc import Collection, Iterable
from typing import Final

from broker.log import LogReader
from broker.producer import DurableProducer
from broker.worker_progress import WorkerProgress
from pipeline.forget import Edge, Outgoing, Person, Stage, Step, edge_tombstones, forget_records, step_key
from pipeline.settings import Settings
from topics.keys import partition_of
from topics.names import LINKS, MERGES, PERSONS, RAW, REJECTED, STITCHED

# Each is written by what reads those before it.
_WAYS: Final = ((RAW,), (STITCHED, LINKS, MERGES), (PERSONS, REJECTED))


class Forgetting:
    """Between `start` and `stop`. `longest_standstill_s` is how long workers may stand still."""

    def __init__(self, settings: Settings, longest_standstill_s: float, stage: Stage) -> None:
        self._longest_standstill_s = longest_standstill_s
        self._stage = stage
        self._progress = WorkerProgress(settings)
        self._producer = DurableProducer(settings)
        self._log = LogReader(settings)

    async def start(self) -> None:
        await asyncio.gather(self._progress.start(), self._producer.start(), self._log.start())

    async def stop(self) -> None:
        await asyncio.gather(self._progress.stop(), self._producer.stop(), self._log.stop())

    async def wait_until_stored(self, all_in_kafka_at_s: float) -> None:
        """Return when all that Kafka has at that moment (Unix seconds) is stored, and all that follows from it."""
        await asyncio.sleep(max(0.0, all_in_kafka_at_s - time.time()))
        for topics in _WAYS:
            await self._wait(topics, "storing what was received")

    async def take_out(self, person: Person, edges: Iterable[Edge]) -> None:
        """Have the workers take the person's users out of what they know of anonymous ids and of other users."""
        partitions, now_ms = await self._producer.partitions(RAW), time.time_ns() // 1_000_000
        await self._publish(RAW, forget_records(person, partitions, now_ms))
        await self._publish(MERGES, edge_tombstones(person.project_id, edges, partitions, now_ms))
        await self._wait((RAW, MERGES), "taking the person out of the workers' state")
        await self._wait((STITCHED, PERSONS), "storing what that state led to")

    async def withdrawn(self, project_id: str, steps: Collection[Step]) -> list[Step]:
        """Those of the steps that `identity.persons` has no more, or has others in the place of."""
        if not steps:
            return []
        keys = {step_key(project_id, step) for step in steps}
        partition = partition_of(project_id.encode(), await self._producer.partitions(PERSONS))
        newest: dict[bytes | None, int | None] = {}
        async for records in self._log.read(PERSONS, partition, 0):
            for record in records:
                if record.key in keys:
                    newest[record.key] = None if record.value is None else record.offset
        return [step for step in steps if newest.get(step_key(project_id, step)) != step.version]

    async def _publish(self, topic: str, outgoing: Outgoing) -> None:
        for partition, records in outgoing.items():
            await self._producer.send(topic, partition, records)

    async def _wait(self, topics: Collection[str], doing: str) -> None:
        with self._stage(doing) as told:
            await self._progress.wait(await self._progress.ends(topics), self._longest_standstill_s, told)
