"""A replay from its beginning to its end: planned, its tables made and filled, its records decided, its persons told.

It can be killed anywhere: to start the same again goes on. Until its tables are filled, an error undoes all of it.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

from msgspec.structs import replace

from broker.scan import scanner
from pipeline.directory import Directory
from pipeline.settings import Settings
from replay import completeness, processes, shadow, state
from replay.errors import Interrupted, Refused
from replay.exchange import Exchange, uuids
from replay.finish import finish
from replay.folder import folder_of, locked, remove
from replay.plan import IN_FLIGHT_MS, Asked, check_holds_any, check_others, check_room, placed, replay_of
from replay.sides import sides_of
from replay.state import Progress, Replay, Status, still
from replay.work import Task
from store.address import address_of
from store.client import Store, open_store
from store.errors import StoreError
from store.migrate import pending
from topics.names import RAW

Show: TypeAlias = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Shows some work by its name and size, and gives what hears how much more of it is done."""


@dataclass(frozen=True, slots=True)
class Ways:
    """How many processes, what each may use of one core, in percent, and for how long each waits for a store that is
    away or full."""

    workers: int = 1
    share: int = 100
    patience_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Replayer:
    """What a replay is run with. `store` is the live one."""

    settings: Settings
    store: Store
    directory: Directory
    show: Show

    def start(self, asked: Asked, ways: Ways) -> Replay:
        """Begin, or go on with what was begun. Returns the finished replay.

        Raises Refused (nothing was changed), Interrupted (repeat it), StoreError or BrokerError.
        """
        replay, is_new = self._planned(asked)
        own = shadow.open_shadow(self.settings.store, replay.id)
        with closing(own), locked(folder_of(self.settings, replay.id)):
            if not is_new:
                replay = still(own, Status.FILLING, Status.RUNNING)
            try:
                if is_new or replay.status is Status.FILLING:
                    replay = self._made(own, replay)
            except (StoreError, Refused):
                self._undo(replay)
                raise
            return self._done(own, replay, ways)

    def count(self, asked: Asked, ways: Ways) -> dict[str, int]:
        """What it would come to. Nothing is written anywhere. Raises as `start`."""
        replay = self._placed(replay_of(self.settings, asked, self.directory.projects.values(), _now_ms()))
        return dict(state.totals(self._worked(replay, ways, is_dry=True).values()))

    def extend(self, replay: Replay, ways: Ways) -> Replay:
        """Take in also what came to `events.raw` since, of the same range: a finished replay is finished again.

        Raises as `start`; then the replay is `running`, and to repeat this or `start` goes on.
        """
        own = shadow.open_shadow(self.settings.store, replay.id)
        with closing(own), locked(folder_of(self.settings, replay.id)):
            running = replace(replay, status=Status.RUNNING)
            state.write(own, running)
            return self._done(own, running, ways)

    def _planned(self, asked: Asked) -> tuple[Replay, bool]:
        """The replay to run, and whether it is a new one."""
        if pending(self.store):
            raise Refused("the store's schema is older than this whipstitch; run `whipstitch migrate` first")
        replay = replay_of(self.settings, asked, self.directory.projects.values(), _now_ms())
        begun = check_others(replay, state.replays(self.store, self.settings.store))
        if begun is not None:
            return begun, False
        placed = self._placed(replay)
        check_room(self.store, self.settings, placed)
        return placed, True

    def _placed(self, replay: Replay) -> Replay:
        # What was received before the range's end may still be on its way to Kafka.
        time.sleep(max(0, replay.to_ms + IN_FLIGHT_MS - _now_ms()) / 1000)
        found = asyncio.run(placed(self.settings, replay))
        # Where clocks jumped, records of the range may lie behind its end; then the store tells that there are some.
        if replay.sources or not completeness.any_live(self.store, replay):
            asyncio.run(check_holds_any(self.settings, found))
        return found

    def _made(self, own: Store, replay: Replay) -> Replay:
        shadow.create(own, replay)
        self._check_alone(replay)
        filled_at_ms, live_uuids = _now_ms(), uuids(self.store, address_of(self.settings.store).database)
        planned = shadow.filling(self.store, self.settings.store, replay)
        with self.show("copying what stays as it is", planned.rows) as told:
            shadow.fill(own, planned, told)
        for project in replay.projects:
            if project != self.directory.projects.get(project.id):
                shadow.set_project(own, project)
        filled = replace(replay, status=Status.RUNNING, filled_at_ms=filled_at_ms, live_uuids=live_uuids)
        state.write(own, filled)
        return filled

    def _check_alone(self, replay: Replay) -> None:
        """Of two that begin at once the earlier one goes on. Raises Refused."""
        for other in state.replays(self.store, self.settings.store):
            if other.id == replay.id:
                return
            check_others(replay, [other])

    def _undo(self, replay: Replay) -> None:
        with suppress(StoreError):  # what is left of it is listed, and can be aborted
            shadow.drop(self.store, self.settings.store, replay.id)
        remove(folder_of(self.settings, replay.id))

    def _done(self, own: Store, replay: Replay, ways: Ways) -> Replay:
        try:
            self._worked(replay, ways)
            replay = self._completed(own, replay, ways)
            forgotten = self.directory.forgotten.values()
            with self.show("telling persons", 1) as told:
                finish(own, address_of(self.settings.store).database, replay, forgotten, _unseen)
                told(1)
            finished = replace(replay, status=Status.FINISHED)
            state.write(own, finished)
        except StoreError as error:
            raise Interrupted(f"{error}; what is done is kept: repeat the command to go on") from error
        return finished

    def _completed(self, own: Store, replay: Replay, ways: Ways) -> Replay:
        """With what of the range lies behind its end as the times of records tell it."""
        name = shadow.database_of(self.settings.store, replay.id)
        lacks = completeness.missing(self.store, name, replay)
        if lacks and not replay.sources:
            now = asyncio.run(_ends(self.settings))
            replay = replace(replay, ends={partition: now[partition] for partition in replay.ends})
            state.write(own, replay)
            self._worked(replay, ways)
            lacks = completeness.missing(self.store, name, replay)
        return replace(replay, missing=lacks)

    def _worked(self, replay: Replay, ways: Ways, *, is_dry: bool = False) -> dict[int, Progress]:
        tasks = [
            Task(self.settings, replay, partitions, ways.share, ways.patience_s, is_dry)
            for partitions in _shared_out(sorted(replay.ends), ways.workers)
        ]
        total = sum(replay.ends[p] - start for p, start in replay.starts.items())
        with self.show("counting" if is_dry else "replaying", total) as advance:
            shown = 0

            def told(progress: Mapping[int, Progress]) -> None:
                nonlocal shown
                done = state.totals(progress.values())["done"]
                advance(done - shown)
                shown = done

            return processes.run(tasks, told)


def abort(settings: Settings, store: Store, replay_id: str) -> None:
    """Remove all there is of a replay; `store` is the live one. Raises Refused where it runs, or is half exchanged, or
    StoreError; safe to repeat."""
    folder = folder_of(settings, replay_id)
    with locked(folder):
        for replay in state.replays(store, settings.store):
            if replay.id == replay_id and replay.status in (Status.SWAPPING, Status.SWAPPING_BACK):
                _undo_swap(settings, store, replay)
        shadow.drop(store, settings.store, replay_id)
    remove(folder)


def _undo_swap(settings: Settings, store: Store, replay: Replay) -> None:
    """Of a swap that has exchanged nothing yet, as one for which there was no room. Raises Refused where it has."""
    exchange = Exchange(store, sides_of(settings.store, replay), replay.shadow_uuids)
    if exchange.is_begun():
        raise Refused(f"replay {replay.id} is being exchanged; finish that first with `whipstitch replay swap`")
    exchange.drop_mirrors()


def replayer(settings: Settings, directory: Directory, show: Show) -> Replayer:
    return Replayer(settings, open_store(settings.store), directory, show)


async def _ends(settings: Settings) -> dict[int, int]:
    async with scanner(settings) as scan:
        return dict(await scan.ends(RAW))


def _shared_out(partitions: list[int], workers: int) -> Iterator[tuple[int, ...]]:
    for first in range(min(workers, len(partitions))):
        yield tuple(partitions[first::workers])


@contextmanager
def _unseen(doing: str) -> Iterator[Callable[[int], None]]:
    yield lambda left: None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
