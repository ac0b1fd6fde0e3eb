"""`tail`: follows `events.stitched`, or the dead letters, from now on.

Arrives: the topic's records. Leaves: a line each on stdout, as they come; with --json the record itself.
Belongs to no consumer group and commits nothing, so it disturbs no worker.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import click
import msgspec
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from broker.connection import client_options
from broker.errors import BrokerError, broker_error
from broker.producer import DurableProducer
from cli.control import settings_for_kafka
from cli.output import instant
from cli.problems import telling
from embedded.errors import EmbeddedError
from pipeline.settings import Settings, SettingsError
from topics.names import REJECTED, STITCHED
from topics.raw import read_stamp
from topics.records import RawRecord
from topics.rejected import read_rejection

_POLL_MS = 500


class _Seen(msgspec.Struct):
    """What a line shows of a stitched event."""

    project_id: str
    type: str
    event_name: str
    received_at: float
    anonymous_id: str | None = None
    user_id: str | None = None
    stitched_user_id: str | None = None


_decode = msgspec.json.Decoder(_Seen).decode


@click.command()
@click.option("--project", "project_id", help="Only this project's.")
@click.option("--rejected", is_flag=True, help="Dead letters, with the reason, instead of stitched events.")
@click.option("--json", "as_json", is_flag=True, help="Print the records themselves, one a line.")
@telling(SettingsError, EmbeddedError, BrokerError)
def tail(project_id: str | None, rejected: bool, as_json: bool) -> None:
    """Show events as they are stitched: time of receipt, project, type, event, whose it is. Ctrl-C ends it.

    \b
    Example:
      whipstitch tail --project default
    """
    line: Callable[[RawRecord, str | None], bytes | None]
    topic, line = STITCHED, stitched_json if as_json else stitched_line
    if rejected:
        topic, line = REJECTED, rejected_json if as_json else rejected_line
    asyncio.run(_follow(settings_for_kafka(), topic, lambda record: line(record, project_id)))


def stitched_line(record: RawRecord, project_id: str | None) -> bytes | None:
    seen = _decode(record.value or b"{}")
    if project_id not in {None, seen.project_id}:
        return None
    who = seen.stitched_user_id or seen.user_id or f"({seen.anonymous_id or 'nobody'})"
    return _columns(instant(seen.received_at), seen.project_id, seen.type, seen.event_name, who)


def stitched_json(record: RawRecord, project_id: str | None) -> bytes | None:
    value = record.value or b"{}"
    return value if project_id in {None, _decode(value).project_id} else None


def rejected_line(record: RawRecord, project_id: str | None) -> bytes | None:
    rejection, project = read_rejection(record.headers), _project_of(record)
    if project_id not in {None, project}:
        return None
    return _columns(
        instant(rejection.rejected_at_ms / 1000), project or "-", rejection.step, rejection.reason, rejection.detail
    )


def rejected_json(record: RawRecord, project_id: str | None) -> bytes | None:
    project = _project_of(record)
    if project_id not in {None, project}:
        return None
    value = (record.value or b"").decode(errors="replace")
    key = (record.key or b"").decode(errors="replace")
    rejection = msgspec.structs.asdict(read_rejection(record.headers))
    return orjson.dumps({"project_id": project, **rejection, "key": key, "value": value})


def _project_of(record: RawRecord) -> str | None:
    """A dead letter may have come past the ingress: then it belongs to no project."""
    try:
        return read_stamp(record.headers).project_id
    except ValueError:
        return None


def _columns(*cells: str) -> bytes:
    """Control characters of an event must not reach somebody's terminal."""
    return "  ".join("".join(c if c.isprintable() else "�" for c in cell) for cell in cells).encode(errors="replace")


async def _follow(settings: Settings, topic: str, line: Callable[[RawRecord], bytes | None]) -> None:
    async for records in _records_from_now_on(settings, topic):
        lines = [text for record in records if (text := line(record)) is not None]
        if lines:
            click.echo(b"\n".join(lines))


async def _records_from_now_on(settings: Settings, topic: str) -> AsyncIterator[list[RawRecord]]:
    partitions = [TopicPartition(topic, partition) for partition in range(await _partition_count(settings, topic))]
    consumer = AIOKafkaConsumer(**client_options(settings), group_id=None, enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        click.echo(f"following {topic}; Ctrl-C ends it", err=True)
        while True:
            for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                yield records
    except KafkaError as error:
        raise broker_error(f"read {topic}", error) from error
    finally:
        await consumer.stop()


async def _partition_count(settings: Settings, topic: str) -> int:
    """Asked of a producer, which lists all topics: a consumer asks for one by name, and that could create it."""
    producer = DurableProducer(settings)
    try:
        return await producer.partitions(topic)
    finally:
        await producer.stop()
