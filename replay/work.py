"""One worker of a replay: its partitions' records through the steps, and into the replay's tables.

It guarantees that what a journal says is done is stored. While one insert is on its way the next one fills; no more is
held in memory.
"""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker import batch_process
from pipeline.settings import Settings
from replay.errors import Interrupted
from replay.folder import folder_of, journal_path
from replay.journal import Frame, Journal
from replay.output import Inserter, Outputs
from replay.pace import pause_s
from replay.partition import Decided, Partition
from replay.scope import Scope
from replay.shadow import open_shadow, url_of
from replay.source import FILE_PARTITIONS, Batch, source_of
from replay.state import Progress, Replay
from replay.warm_up import WarmUp
from store.address import address_of
from store.client import Store, open_store

Report = Callable[[list[Progress]], None]

_FLUSH_EVERY_S: Final = 2.0
_NICENESS: Final = 10


@dataclass(frozen=True, slots=True)
class Task:
    """What one worker is to do. `share` is in percent of one core; a store that is away or full is waited for. Where
    `is_dry`, nothing is written anywhere."""

    settings: Settings
    replay: Replay
    partitions: tuple[int, ...]
    share: int = 100
    patience_s: float = 60.0
    is_dry: bool = False


def partition_count(replay: Replay) -> int:
    """Of the topic, or of the files' records."""
    return FILE_PARTITIONS if replay.sources else len(replay.ends)


def work_in_process(task: Task, report: Report) -> None:
    """The same as `work`, in a process of its own, which ends with the one that made it."""
    os.nice(_NICENESS)
    batch_process.prepare()
    parent = os.getppid()
    work(task, lambda: os.getppid() != parent, report)


def work(task: Task, is_stopped: Callable[[], bool], report: Report) -> None:
    """Go on where the journals end, up to the ends of the partitions. `report` hears how far the journals are, from any
    thread.

    Raises ReplayError, BrokerError, StoreError or OSError; then, and after a kill, it can be done again.
    """
    with ExitStack() as opened:
        live, shadow = open_store(task.settings.store), open_shadow(task.settings.store, task.replay.id)
        opened.callback(live.close)
        opened.callback(shadow.close)
        worker = _Worker(task, live, shadow, is_stopped, report, opened)
        asyncio.run(worker.run())


@dataclass(slots=True)
class _Worker:
    task: Task
    live: Store
    shadow: Store
    is_stopped: Callable[[], bool]
    report: Report
    opened: ExitStack
    partitions: dict[int, Partition] = field(default_factory=dict)
    journals: dict[int, Journal] = field(default_factory=dict)
    filling: Outputs = field(default_factory=Outputs)
    inserting: "asyncio.Task[float] | None" = None
    frames: dict[int, Frame] = field(default_factory=dict)
    reported: dict[int, int] = field(default_factory=dict)
    reported_at_s: float = 0.0
    flushed_at_s: float = 0.0

    async def run(self) -> None:
        task = self.task
        if not task.is_dry:
            folder = folder_of(task.settings, task.replay.id)
            self.journals = {number: self._journal(folder, number) for number in task.partitions}
        await asyncio.to_thread(self._resume)
        try:
            await self._read()
            await self._flush()
        finally:  # also where it failed: what is on its way is stored and noted, or says itself what is wrong
            await self._inserted()

    def _journal(self, folder: Path, number: int) -> Journal:
        journal = Journal(journal_path(folder, number))
        self.opened.callback(journal.close)
        return journal

    def _resume(self) -> None:
        """Make the state as it was at the end of the journals."""
        task, replay = self.task, self.task.replay
        rules, scope = replay.rules(), Scope.of(replay)
        warm_up = WarmUp(self.live, replay, task.partitions, partition_count(replay))
        seen, owners = warm_up.seen(), warm_up.owners(rules)
        for number in task.partitions:
            start, end = replay.starts[number], replay.ends[number]
            progress = Progress(number, start, start, end)
            self.partitions[number] = Partition(progress, scope, rules, seen[number], owners[number])
        for number, journal in self.journals.items():
            for frame in journal.frames():
                self.partitions[number].resume(frame)
                self.frames[number] = frame
        self._report()

    async def _read(self) -> None:
        replay = self.task.replay
        positions = {number: each.position for number, each in self.partitions.items()}
        left = {number: at for number, at in positions.items() if at < replay.ends[number]}
        paused_at_s = time.monotonic()
        async with aclosing(source_of(self.task.settings, replay).read(left, replay.ends)) as batches:
            async for batch in batches:
                if self.is_stopped():
                    raise Interrupted("the process that began the work has ended")
                busy_s = await self._take(batch)
                await asyncio.sleep(pause_s(busy_s, time.monotonic() - paused_at_s, self.task.share))
                paused_at_s = time.monotonic()

    async def _take(self, batch: Batch) -> float:
        """How long it was worked at, by this worker and by the store."""
        began_s = time.monotonic()
        decided = self.partitions[batch.partition].decide(batch)
        self.filling.add(decided)
        busy_s = time.monotonic() - began_s
        settings = self.task.settings
        is_full = self.filling.is_full(settings.sink_max_rows, settings.sink_max_bytes)
        if is_full or time.monotonic() - self.flushed_at_s >= _FLUSH_EVERY_S:
            busy_s += await self._inserted()
            await self._flush()
        return busy_s

    async def _flush(self) -> None:
        await self._inserted()
        self.flushed_at_s = time.monotonic()
        outputs, self.filling = self.filling, Outputs()
        self.inserting = asyncio.create_task(asyncio.to_thread(self._insert, outputs))

    async def _inserted(self) -> float:
        """Wait for the insert that is on its way; how long it took."""
        inserting, self.inserting = self.inserting, None
        return 0.0 if inserting is None else await inserting

    def _insert(self, outputs: Outputs) -> float:
        began_s = time.monotonic()
        if not self.task.is_dry:
            # Step 1. The rows are stored.
            Inserter(self.shadow, self.live, self._as_live(), self.task.patience_s).insert(outputs)
        # Step 2. Only then do the journals say so.
        for decided in outputs.decided:
            self._note(decided)
        self._report()
        return time.monotonic() - began_s

    def _as_live(self) -> tuple[str, str]:
        url = self.task.settings.store
        return str(address_of(url_of(url, self.task.replay.id))), str(address_of(url))

    def _note(self, decided: Decided) -> None:
        if decided.partition in self.journals:
            self.journals[decided.partition].append(decided.frame)
        self.frames[decided.partition] = decided.frame

    def _report(self) -> None:
        """How far the journals are, by partition."""
        now_s, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        passed_s = now_s - self.reported_at_s
        progress = []
        for number, partition in self.partitions.items():
            position = frame.position if (frame := self.frames.get(number)) else self.task.replay.starts[number]
            per_s = (position - self.reported.get(number, position)) / passed_s if passed_s else 0.0
            self.reported[number] = position
            progress.append(partition.progress(frame, per_s, now_ms))
        self.reported_at_s = now_s
        self.report(progress)
