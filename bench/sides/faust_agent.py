"""Faust as its documentation has it: an agent that takes event by event, Tables for state, and an agent for the store.

The first agent sends each stitched event to a topic of its own; the second takes them by the batch and inserts them.
Tables are in memory with their changelogs in Kafka, the default. What was seen is never forgotten: Faust's windowed
tables, which would expire it, go by the wall clock and are not rebuilt on recovery. The topics are made beforehand,
because Faust misses for 45 s those that are made after its start.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

import faust
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.load import PROJECT
from bench.sides import INSERT_AFTER_S, EventsTable, Side, say_begin, say_end, side_of_arguments
from bench.sides.same_logic import Arrived, rules_of, stitched_row
from pipeline import owner_rows
from pipeline.identity import NOBODY, Ownership
from topics.names import RAW

_SEEN: Final = "seen"
_OWNERS: Final = "owners"
_TAKE_AT_ONCE: Final = 5000
_LINGER_S: Final = 0.02  # without it each send is a request of its own, which doubles the cost
_MOST_RECORDS_A_POLL: Final = 1000  # without it one poll brings all there is, and the second agent waits for its end
_RAW_BYTES: Final = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}


class _State:
    """Two Tables, as `same_logic.State`."""

    def __init__(self, app: faust.App, partitions: int) -> None:
        options = {"key_type": bytes, "value_type": bytes, "partitions": partitions}
        self._seen: MutableMapping[bytes, bytes] = app.Table(_SEEN, **options)
        self._owners: MutableMapping[bytes, bytes] = app.Table(_OWNERS, **options)

    def first_received_at(self, message: bytes) -> float | None:
        stored = self._seen.get(message)
        return None if stored is None else float(stored)

    def note(self, message: bytes, received_at: float) -> None:
        self._seen[message] = b"%.3f" % received_at

    def ownership(self, anonymous: bytes) -> Ownership:
        stored = self._owners.get(anonymous)
        return NOBODY if stored is None else owner_rows.decode(stored)

    def own(self, anonymous: bytes, ownership: Ownership) -> None:
        self._owners[anonymous] = owner_rows.encode(ownership)


@dataclass(slots=True)
class _Progress:
    """`done` is set once all events were taken and all rows that they led to are stored."""

    events: int
    taken: int = 0
    sent: int = 0
    stored: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def check(self) -> None:
        if self.taken == self.events and self.stored == self.sent:
            self.done.set()


def main() -> int:
    side = side_of_arguments(__doc__)
    asyncio.run(_create_topics(side))
    app, table, progress = _app(side), EventsTable(side), _Progress(side.events)
    _add_agents(app, side, table, progress)
    _add_end(app, table, progress)
    logging.disable(logging.DEBUG)  # Faust opens the root logger for it: aiokafka would write lines that nobody gets
    worker = faust.Worker(app, loglevel="WARNING", quiet=True, redirect_stdouts=False, stdout=sys.stderr)
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


async def _create_topics(side: Side) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=side.kafka)
    await admin.start()
    try:
        compacted = {"cleanup.policy": "compact"}
        changelogs = [f"{side.group}-{table}-changelog" for table in (_SEEN, _OWNERS)]
        topics = [NewTopic(name, side.partitions, 1, topic_configs=compacted) for name in changelogs]
        await admin.create_topics([NewTopic(_stitched_topic(side), side.partitions, 1), *topics])
    finally:
        await admin.close()


def _stitched_topic(side: Side) -> str:
    return f"{side.group}-stitched"


def _app(side: Side) -> faust.App:
    return faust.App(
        side.group,
        broker=f"kafka://{side.kafka}",
        store="memory://",
        datadir=side.new_folder(),
        producer_linger=_LINGER_S,
        broker_max_poll_records=_MOST_RECORDS_A_POLL,
        topic_partitions=side.partitions,
        web_enabled=False,
    )


def _add_agents(app: faust.App, side: Side, table: EventsTable, progress: _Progress) -> None:
    raw = app.topic(RAW, **_RAW_BYTES)
    stitched = app.topic(_stitched_topic(side), internal=True, partitions=side.partitions, **_RAW_BYTES)
    state, rules = _State(app, side.partitions), rules_of(PROJECT)

    @app.agent(raw)
    async def stitch(stream: faust.Stream[bytes]) -> None:
        async for event in stream.events():
            headers = tuple(dict(event.headers).items())
            row = stitched_row(Arrived(event.key, event.value, headers), state, rules)
            if row is not None:
                await stitched.send(key=event.key, value=row)
                progress.sent += 1
            progress.taken += 1
            progress.check()

    @app.agent(stitched)
    async def store(stream: faust.Stream[bytes]) -> None:
        async for rows in stream.take(_TAKE_AT_ONCE, within=INSERT_AFTER_S):
            await asyncio.to_thread(table.insert, rows)
            progress.stored += len(rows)
            progress.check()


def _add_end(app: faust.App, table: EventsTable, progress: _Progress) -> None:
    began: list[bool] = []

    @app.on_rebalance_complete.connect
    def begin(sender: Any, **_: Any) -> None:
        if not began:
            began.append(True)
            say_begin()

    @app.task
    async def end(app: faust.App) -> None:
        await progress.done.wait()
        await app.consumer.commit()
        say_end(table.rows())
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
