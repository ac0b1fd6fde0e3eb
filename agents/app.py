"""The worker's Faust app: which agent reads which topic, and what an agent does with a batch."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import faust
from faust.types import TP

from agents.failure import die
from agents.merge import Merger
from agents.retry import Pulse, until_possible
from agents.sink import Sink
from agents.stitch import Stitcher
from agents.transport import BatchApp, BatchConsumer
from broker.connection import client_options
from broker.errors import BrokerUnavailable
from pipeline.settings import Settings
from topics import names
from topics.records import RawRecord

logger = logging.getLogger(__name__)

_MOST_RECORDS_A_POLL = 4000
_BATCHES_WAITING_A_PARTITION = 2
_LONGEST_WAIT_FOR_A_SINK_S = 3.0  # several times what an insert takes
_SESSION_TIMEOUT_S = 10.0  # after which a worker that was killed loses its partitions to the others


def new_app(settings: Settings, partitions: int, id: str = names.WORKER_GROUP) -> BatchApp:
    """An app without agents. `partitions` is what the data topics have."""
    return BatchApp(
        id,
        broker=";".join(f"kafka://{server.strip()}" for server in settings.kafka.split(",")),
        broker_credentials=_credentials(settings),
        broker_max_poll_records=_MOST_RECORDS_A_POLL,
        broker_commit_interval=0.5,
        broker_session_timeout=_SESSION_TIMEOUT_S,
        broker_heartbeat_interval=_SESSION_TIMEOUT_S / 3,
        consumer_group_instance_id=settings.worker_id,
        stream_buffer_maxsize=max(8, _BATCHES_WAITING_A_PARTITION * partitions),
        datadir=settings.data / "faust",
        topic_partitions=partitions,
        topic_replication_factor=settings.replication,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )


def add_stitch_agent(app: BatchApp, stitcher: Stitcher, pulse: Pulse) -> None:
    """It waits for the sink of what it writes, where that is in this process: what the sink has no room for when it is
    written is read back from Kafka, which costs more than to wait."""

    @app.on_partitions_assigned.connect
    def assigned(sender: Any, partitions: set[TP], **_: Any) -> None:
        stitcher.assigned({tp.partition for tp in partitions if tp.topic == names.RAW})

    async def settle(tp: TP, records: list[RawRecord], acknowledge: Callable[[], None]) -> None:
        if names.STITCHED in app.sinks:
            await app.sinks[names.STITCHED].room(_LONGEST_WAIT_FOR_A_SINK_S)
        await _settled(stitcher, tp.partition, records, pulse)
        acknowledge()

    _add_agent(app, names.RAW, "stitch", settle)


def add_merge_agent(app: BatchApp, merger: Merger, pulse: Pulse) -> None:
    @app.on_partitions_assigned.connect
    def assigned(sender: Any, partitions: set[TP], **_: Any) -> None:
        merger.assigned()

    async def settle(tp: TP, records: list[RawRecord], acknowledge: Callable[[], None]) -> None:
        await _settled(merger, tp.partition, records, pulse)
        acknowledge()

    _add_agent(app, names.MERGES, "merge", settle)


def add_sink_agent(app: BatchApp, topic: str, sink: Sink) -> None:
    async def take(tp: TP, records: list[RawRecord], acknowledge: Callable[[], None]) -> None:
        await sink.take(records, acknowledge)

    _add_agent(app, topic, f"sink-{topic}", take)
    app.sinks[topic] = sink

    @app.task
    async def run(app: BatchApp) -> None:
        inserting = asyncio.create_task(sink.run(), name=f"sink-{topic}")
        inserting.add_done_callback(_end_process_on_error)
        try:
            await inserting
        finally:
            inserting.cancel()


def end_process_if(app: BatchApp, failed: Callable[[], Awaitable[BaseException]]) -> None:
    """End the process when `failed` returns: what the worker goes by would not be kept up to date."""

    @app.task
    async def watch(app: BatchApp) -> None:
        die("control.projects", await failed())


def write_ready_file(app: BatchApp, ready_file: Path, text: str) -> None:
    """Write `text` there whenever partitions are assigned: events are stitched from then on."""

    @app.on_rebalance_complete.connect
    def ready(sender: Any, **_: Any) -> None:
        ready_file.write_text(text)


def _add_agent(app: BatchApp, topic: str, name: str, handle: Callable[..., Any]) -> None:
    channel = app.topic(topic, key_serializer="raw", value_serializer="raw", acks=False)

    async def agent(stream: faust.Stream) -> None:
        async for event in stream.events():
            tp, last_offset = event.message.tp, event.message.offset
            watermark = cast(BatchConsumer, app.consumer).watermark(tp)
            await handle(tp, event.message.value, lambda w=watermark, o=last_offset: w.done(o, name))

    app.readers[topic].append(name)
    agent.__qualname__ = name  # what the log calls it
    app.agent(channel, name=name, concurrency=1)(agent)


async def _settled(agent: Stitcher | Merger, partition: int, records: list[RawRecord], pulse: Pulse) -> None:
    async for attempt in until_possible(BrokerUnavailable, pulse):
        with attempt:
            await agent.settle(partition, records)


def _end_process_on_error(done: asyncio.Task[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        die(done.get_name(), error)


def _credentials(settings: Settings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    options = client_options(settings)
    ssl_context = options.get("ssl_context")
    if settings.kafka_security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=settings.kafka_security_username,
            password=settings.kafka_security_password,
            mechanism=settings.kafka_security_mechanism,
            ssl_context=ssl_context,
        )
    return faust.SSLCredentials(context=ssl_context) if ssl_context else None
