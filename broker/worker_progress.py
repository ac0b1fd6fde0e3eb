"""How far the workers are: the offsets that their group has committed, against the ends of the topics they read.

A committed offset means that all before it is done: stitched, or stored.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from broker.connection import client_options, why_unreachable
from broker.errors import BrokerUnavailable, broker_error
from pipeline.settings import Settings
from topics.names import WORKER_GROUP

Positions: TypeAlias = Mapping[TopicPartition, int]

_CHECK_EVERY_S = 0.2


class WorkersStandStill(BrokerUnavailable):
    """The workers do not get on. Try again once one runs."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How many records the workers were behind when that last changed, and when that was."""

    behind: int
    since_s: float

    def after(self, behind: int, now_s: float) -> Self:
        return self if behind == self.behind else type(self)(behind, now_s)

    def stands_still(self, now_s: float, longest_s: float) -> bool:
        return now_s - self.since_s > longest_s


class WorkerProgress:
    """Between `start` and `stop`. Every method raises BrokerUnavailable or BrokerRefused; a retry is safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = AIOKafkaAdminClient(**client_options(settings))
        self._consumer = AIOKafkaConsumer(**client_options(settings), group_id=None, enable_auto_commit=False)

    async def start(self) -> None:
        try:
            await self._admin.start()
            await self._consumer.start()
        except KafkaConnectionError:
            await self.stop()
            raise await why_unreachable(self._settings) from None
        except KafkaError as error:
            await self.stop()
            raise broker_error(f"connect to Kafka at {self._settings.kafka}", error) from error

    async def stop(self) -> None:
        await self._consumer.stop()
        await self._admin.close()

    async def ends(self, topics: Iterable[str]) -> Positions:
        """The ends of all partitions of these topics. A partition that holds nothing any more has none."""
        wanted = {*topics}
        try:
            described = [topic for topic in await self._admin.describe_topics() if topic["topic"] in wanted]
            partitions = [TopicPartition(t["topic"], p["partition"]) for t in described for p in t["partitions"]]
            ends = await self._consumer.end_offsets(partitions)
            starts = await self._consumer.beginning_offsets(partitions)
        except KafkaError as error:
            raise broker_error("read the ends of the topics", error) from error
        return {partition: end for partition, end in ends.items() if end > starts[partition]}

    async def behind(self, ends: Positions) -> int:
        """How many records before these ends are not done."""
        try:
            # A broker that never had a group has no coordinator to ask: look among those it knows first.
            groups = {name for name, *_ in await self._admin.list_consumer_groups()}
            done = await self._admin.list_consumer_group_offsets(WORKER_GROUP) if WORKER_GROUP in groups else {}
        except KafkaError as error:
            raise broker_error("read how far the workers are", error) from error
        return sum(max(0, end - (done[at].offset if at in done else 0)) for at, end in ends.items())

    async def wait(self, ends: Positions, longest_standstill_s: float, told: Callable[[int], None]) -> None:
        """Return when all before these ends is done; `told` hears how many records are not. Raises WorkersStandStill
        where that has not changed for so long."""
        standing = Standing(await self.behind(ends), time.monotonic())
        while standing.behind:
            told(standing.behind)
            await asyncio.sleep(_CHECK_EVERY_S)
            standing = standing.after(await self.behind(ends), time.monotonic())
            if standing.stands_still(time.monotonic(), longest_standstill_s):
                raise WorkersStandStill(
                    f"the workers stand still, {standing.behind} records behind: see that one runs "
                    "(`whipstitch doctor`; `whipstitch worker` starts one), and try again"
                )
