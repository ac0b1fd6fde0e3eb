"""Makes a replay's tables the live ones, or takes that back, while events go on coming in.

What was live before lies in the replay's database then, and goes with it unless it is kept. The state of the live
workers follows: facts that the replay no longer has are taken from them, and what it has more is told to them.

The steps are numbered. Each is safe to repeat, and a swap that was killed is gone on with by the same command.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from time import time_ns
from typing import Final

from msgspec.structs import replace

from broker.control import load_directory
from broker.producer import DurableProducer
from broker.worker_progress import WorkerProgress
from pipeline.directory import Directory
from pipeline.forget import Outgoing, Stage
from pipeline.settings import Settings
from replay import state
from replay.completeness import missing
from replay.corrections import Corrections, additions, orders, withdrawals
from replay.errors import Refused
from replay.exchange import Exchange, uuids
from replay.finish import finish, forget
from replay.folder import folder_of, locked, remove
from replay.run import Replayer, Ways
from replay.shadow import drop
from replay.sides import Sides, sides_of
from replay.state import Replay, Status
from store.client import Store
from store.squash import discard
from topics.names import LINKS, MERGES, PERSONS, RAW, REJECTED, STITCHED

_ORDERS_AT_ONCE: Final = 10_000
# Each is written by what reads those before it.
_WAYS: Final = ((RAW,), (STITCHED, LINKS, MERGES), (PERSONS, REJECTED))
# What decides how the tables are read must be the same for what was replayed and for what comes.
_READ_BY: Final = ("policy", "max_users_per_anonymous_id", "max_users_per_person")


@dataclass(frozen=True, slots=True)
class Swap:
    """`live` and `shadow` are the stores of the two databases; `replayer` takes in what came late, and `stage` tells
    how far it is."""

    replayer: Replayer
    settings: Settings
    live: Store
    shadow: Store
    stage: Stage
    max_standstill_s: float

    async def swap(self, replay: Replay, *, keep: bool) -> None:
        """Raises Refused, where nothing was changed; WorkersStandStill, BrokerError or StoreError."""
        if replay.status not in (Status.FINISHED, Status.SWAPPING):
            raise Refused(_why_not(replay))
        if replay.status is Status.FINISHED:
            replay = await self._whole(replay)
        folder = folder_of(self.settings, replay.id)
        with locked(folder):
            replay = state.still(self.shadow, Status.FINISHED, Status.SWAPPING)
            await self._exchanged(replay, Status.SWAPPING, Status.SWAPPED)
            if not keep:
                drop(self.live, self.settings.store, replay.id)
        if not keep:
            remove(folder)

    async def back(self, replay: Replay) -> None:
        """Make the tables live again that were it before the swap. Raises as `swap` does."""
        if replay.status not in (Status.SWAPPED, Status.SWAPPING_BACK):
            raise Refused(f"replay {replay.id} is {replay.status}: there is nothing to take back")
        with locked(folder_of(self.settings, replay.id)):
            replay = state.still(self.shadow, Status.SWAPPED, Status.SWAPPING_BACK)
            await self._exchanged(replay, Status.SWAPPING_BACK, Status.FINISHED)

    async def _whole(self, replay: Replay) -> Replay:
        """With what of its range was put into `events.raw` since it ended, as a dead letter is that is tried again."""
        await self._wait_until_stored()
        if missing(self.live, sides_of(self.settings.store, replay).shadow, replay):
            replay = await asyncio.to_thread(self.replayer.extend, replay, Ways())
        if replay.missing:
            raise Refused(
                f"replay {replay.id} lacks {replay.missing} messages of its range that are live, as what it was made "
                "from has them no more: they would be lost; start one of a range that is kept whole"
            )
        return replay

    async def _exchanged(self, replay: Replay, during: Status, after: Status) -> None:
        sides, directory = sides_of(self.settings.store, replay), await load_directory(self.settings)
        # Step 1. What is refused is refused before anything changes.
        if during is Status.SWAPPING:
            check_settings(replay, directory)
        await self._wait_until_stored()
        # Step 2. The note by which a swap that is killed knows what was where.
        replay = self._noted(replay, sides, during)
        exchange = Exchange(self.live, sides, replay.shadow_uuids)
        # Step 3. The shadow as live would be by now, as long as nobody reads it.
        if not exchange.is_begun():
            exchange.drop_mirrors()
            exchange.bring_up()
            finish(self.shadow, sides.live, replay, directory.forgotten.values(), self.stage)
            self._discard_squashes(replay)
        # Step 4. The tables.
        exchange_tables(exchange)
        # Step 5. Who was forgotten while it went on: perhaps out of the tables that are not live any more.
        await self._forget_since(replay)
        # Step 6. The workers.
        await self._correct(sides)
        # Step 7. Only now is it done.
        state.write(self.shadow, replace(replay, status=after, live_uuids=replay.shadow_uuids))

    def _noted(self, replay: Replay, sides: Sides, during: Status) -> Replay:
        if replay.status is during:
            return replay
        if uuids(self.live, sides.live) != replay.live_uuids:
            raise Refused(
                f"replay {replay.id} was filled from tables that are no longer live, as another replay was swapped: "
                "`whipstitch replay abort` removes it; where it is still wanted, start it again"
            )
        noted = replace(replay, status=during, shadow_uuids=uuids(self.live, sides.shadow))
        state.write(self.shadow, noted)
        return noted

    async def _forget_since(self, replay: Replay) -> None:
        forgotten = (await load_directory(self.settings)).forgotten.values()
        since = [note for note in forgotten if note.forgotten_at_ms >= replay.created_at_ms]
        forget(self.live, replay, since, self.stage)

    def _discard_squashes(self, replay: Replay) -> None:
        """They may follow from facts that go."""
        for project in replay.projects:
            if replay.project_id in (None, project.id):
                discard(self.live, project.id)

    async def _wait_until_stored(self) -> None:
        progress = WorkerProgress(self.settings)
        try:
            await progress.start()
            for topics in _WAYS:
                await self._wait(progress, topics, "storing what was received")
        finally:
            await progress.stop()

    async def _wait(self, progress: WorkerProgress, topics: Iterable[str], doing: str) -> None:
        with self.stage(doing) as told:
            await progress.wait(await progress.ends(topics), self.max_standstill_s, told)

    async def _correct(self, sides: Sides) -> None:
        corrections = Corrections(self.live, sides)
        producer, progress = DurableProducer(self.settings), WorkerProgress(self.settings)
        corrections.find(self.stage)
        try:
            await producer.start()
            await progress.start()
            partitions, now_ms = await producer.partitions(MERGES), time_ns() // 1_000_000
            for each in corrections.edges():
                await _publish(producer, MERGES, withdrawals(each, partitions, now_ms))
                await _publish(producer, MERGES, additions(each, partitions, now_ms))
            owners = corrections.owners()
            while some := [*islice(owners, _ORDERS_AT_ONCE)]:
                await _publish(producer, RAW, orders(some, partitions, now_ms))
            await self._wait(progress, (RAW,), "telling the workers whose anonymous ids are")
            await self._wait(progress, (MERGES,), "telling the workers which ties hold")
            await self._wait(progress, (PERSONS,), "storing what that led to")
        finally:
            await producer.stop()
            await progress.stop()
        corrections.end()


def exchange_tables(exchange: Exchange) -> None:
    """See `replay.exchange` for why nothing is lost between the steps."""
    exchange.mirror()
    exchange.bring_up()
    exchange.exchange()
    exchange.bring_up_rest()


def check_settings(replay: Replay, directory: Directory) -> None:
    """Raises Refused where the replay was made under a setting by which its project is not read."""
    for replayed in replay.projects:
        live = directory.projects.get(replayed.id)
        if live is None or replay.project_id not in (None, replayed.id):
            continue
        for name in _READ_BY:
            wanted, is_ = getattr(replayed, name), getattr(live, name)
            if getattr(replay.overrides, name) is not None and wanted != is_:
                option = f"--{name.replace('_', '-')} {wanted}"
                raise Refused(
                    f"replay {replay.id} was made with {option}, project {replayed.id} has {is_}: its events would be "
                    f"read otherwise than they were replayed; first `whipstitch projects set {replayed.id} {option}`"
                )


async def _publish(producer: DurableProducer, topic: str, outgoing: Outgoing) -> None:
    for partition, records in outgoing.items():
        await producer.send(topic, partition, records)


def _why_not(replay: Replay) -> str:
    match replay.status:
        case Status.FILLING | Status.RUNNING:
            return f"replay {replay.id} has not ended: `whipstitch replay status` shows how far it is"
        case _:
            return (
                f"replay {replay.id} is {replay.status}: `whipstitch replay swap --back` takes it back, "
                "`whipstitch replay abort` drops what it keeps"
            )
