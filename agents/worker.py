"""One worker process: opens what it needs, wires the agents to it, and runs until it is told to stop.

Arrives: settings with concrete addresses. Leaves: an exit code; 0 after SIGTERM or SIGINT.
"""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import faust

from agents.app import (
    add_merge_agent,
    add_sink_agent,
    add_stitch_agent,
    end_process_if,
    new_app,
    write_ready_file,
)
from agents.merge import Merger
from agents.retry import Pulse
from agents.sink import Sink
from agents.stitch import Stitcher
from agents.transport import BatchApp
from agents.watchdog import watch
from broker import batch_process, scan
from broker.control import DirectoryFollower
from broker.log import LogReader
from broker.producer import DurableProducer
from pipeline import dead_letters
from pipeline.batch import BatchLimits
from pipeline.rejection_limit import RejectionLimit, RejectionRule
from pipeline.rows import Rows, project_row, row_unless_removed, rows_as_they_are, rows_of_each, versioned_row
from pipeline.rules import Rules
from pipeline.settings import Settings
from store.client import Store, open_store
from topics import names

# topic: the table it goes to, and the table's rows of records
_SINKS: dict[str, tuple[str, Rows]] = {
    names.STITCHED: ("events_stored", rows_as_they_are),
    names.LINKS: ("identity_links_stored", rows_as_they_are),
    names.MERGES: ("identity_edges_stored", rows_of_each(row_unless_removed)),
    names.PERSONS: ("identity_persons_stored", rows_of_each(versioned_row)),
    names.PROJECTS: ("projects_stored", rows_of_each(project_row)),
    names.REJECTED: ("rejected_events_stored", rows_of_each(dead_letters.row)),
}


@dataclass(frozen=True, slots=True)
class _World:
    """What a worker holds open."""

    producer: DurableProducer
    log: LogReader
    merges_log: LogReader
    follower: DirectoryFollower
    store: Store

    async def close(self) -> None:
        await asyncio.gather(self.producer.stop(), self.log.stop(), self.merges_log.stop(), self.follower.stop())
        self.store.close()


def run(settings: Settings, ready_file: Path | None = None, *, stitch: bool = True, sink: bool = True) -> int:
    """Run until SIGTERM or SIGINT. `ready_file` is written once events that arrive are stitched. One of the two halves
    can be left out, to measure the other.

    Raises BrokerError or StoreError where the world is not there at the start.
    """
    batch_process.prepare()
    settings.data.mkdir(parents=True, exist_ok=True)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    world, partitions = loop.run_until_complete(_opened(settings))
    app = new_app(settings, partitions)
    pulse = Pulse()
    if stitch:
        _add_stitch(app, settings, world, partitions, pulse)
    if sink:
        _add_sinks(app, settings, world, pulse)
    watch(app, world.merges_log, pulse, settings.stuck_after_s)
    app.close_at_the_end(world.close)
    end_process_if(app, world.follower.failed)
    if ready_file is not None:
        write_ready_file(app, ready_file, "ready\n")
    worker = faust.Worker(app, loglevel="INFO", quiet=True, redirect_stdouts=False, loop=loop)
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


async def _opened(settings: Settings) -> tuple[_World, int]:
    world = _World(
        producer=DurableProducer(settings),
        log=LogReader(settings),
        merges_log=LogReader(settings),
        follower=DirectoryFollower(settings),
        store=open_store(settings.store),
    )
    await asyncio.gather(world.producer.start(), world.log.start(), world.merges_log.start(), world.follower.start())
    return world, await world.producer.partitions(names.RAW)


def _add_stitch(app: BatchApp, settings: Settings, world: _World, partitions: int, pulse: Pulse) -> None:
    rules = _CurrentRules(world.follower, settings.max_event_bytes)
    folder = settings.data / "dedupe" / (settings.worker_id or "worker")
    rejections = RejectionLimit(
        RejectionRule(settings.rejection_limit_events, settings.rejection_limit), time.monotonic()
    )
    stitcher = Stitcher(
        world.producer,
        world.log,
        rules,
        settings.dedupe_window_s,
        partitions,
        folder,
        rejections,
        app.hand_over,
    )
    add_stitch_agent(app, stitcher, pulse)
    app.close_at_the_end(stitcher.close)
    add_merge_agent(app, Merger(world.producer, world.merges_log, rules), pulse)


def _add_sinks(app: BatchApp, settings: Settings, world: _World, pulse: Pulse) -> None:
    limits = BatchLimits(settings.sink_max_rows, settings.sink_max_bytes, settings.sink_max_wait_s)
    records_of = partial(scan.records_of, settings)
    for topic, (table, rows) in _SINKS.items():
        add_sink_agent(app, topic, Sink(table, world.store, world.producer, records_of, limits, rows, pulse))


class _CurrentRules:
    """The rules as the directory has them now; made anew only when it has changed."""

    def __init__(self, follower: DirectoryFollower, max_event_bytes: int) -> None:
        self._follower = follower
        self._max_event_bytes = max_event_bytes
        self._directory = follower.directory
        self._rules = self._made()

    def __call__(self) -> Rules:
        if self._follower.directory is not self._directory:
            self._directory = self._follower.directory
            self._rules = self._made()
        return self._rules

    def _made(self) -> Rules:
        return Rules(self._directory.projects.values(), max_event_bytes=self._max_event_bytes)
