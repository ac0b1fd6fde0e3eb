"""Sends the requests of a seed to an ingress, each twice, and says what it should not have done.

Claims: no 5xx but 503; the same request has the same answer; the ingress is alive at the end; what was answered 2xx
stands in the topic; and what stands there is stored or a dead letter.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition

from broker.connection import client_options
from pipeline.settings import Settings
from store.client import Store
from tests.fuzz.client import Answered, Connection, is_unfinished
from tests.fuzz.requests import FuzzRequest, Keys, request
from tests.waiting import eventually
from topics.names import RAW
from topics.raw import read_stamp

CONNECTIONS = 48
PROGRESS_EVERY_S = 1.0
_SETTLED = (
    "SELECT message_id AS id FROM events WHERE project_id = {project:String} "
    "UNION DISTINCT SELECT message_id AS id FROM rejected_events WHERE project_id = {project:String}"
)


@dataclass
class Outcome:
    """`wrong` says which number of the seed did what; `statuses` counts by status."""

    statuses: Counter[int] = field(default_factory=Counter)
    seen: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    promised: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


Progress = Callable[[int, Counter[int]], None]


def fuzz(
    port: int,
    seed: int,
    numbers: Iterable[int],
    keys: Keys,
    paths: Sequence[tuple[str, str]],
    progress: Progress = lambda _done, _statuses: None,
) -> Outcome:
    """Raises OSError or TimeoutError where the ingress answers no more."""
    return asyncio.run(_fuzz(port, seed, iter(numbers), keys, paths, progress))


async def _fuzz(
    port: int,
    seed: int,
    numbers: Iterable[int],
    keys: Keys,
    paths: Sequence[tuple[str, str]],
    progress: Progress,
) -> Outcome:
    outcome, waiting = Outcome(), iter(numbers)
    told_s = time.monotonic()

    async def one() -> None:
        nonlocal told_s
        connection = Connection(port)
        for number in waiting:
            made = request(seed, number, keys, paths)
            first, second = await connection.ask(made.sent), await connection.ask(made.sent)
            _judge(outcome, f"seed {seed} number {number} ({made.method} {made.path[:80]})", made, first, second)
            if time.monotonic() - told_s > PROGRESS_EVERY_S:
                told_s = time.monotonic()
                progress(outcome.statuses.total(), outcome.statuses)
        connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(one())
    return outcome


def _judge(outcome: Outcome, name: str, made: FuzzRequest, first: Answered, second: Answered) -> None:
    statuses = {first.status, second.status}
    outcome.statuses.update((first.status, second.status))
    outcome.seen.setdefault((made.method, made.path.partition("?")[0]), set()).update(statuses)
    if any(status >= 500 and status != 503 for status in statuses):
        outcome.wrong.append(f"{name}: {statuses}")
    is_silent = 0 in statuses and is_unfinished(made.sent)
    if 503 not in statuses and not is_silent and first.settled != second.settled:
        outcome.wrong.append(f"{name}: {first.settled} and then {second.settled}")
    if 200 in statuses or 202 in statuses:
        outcome.promised |= made.message_ids


def undocumented(outcome: Outcome, paths: Mapping[str, Mapping[str, Mapping[str, object]]]) -> list[str]:
    """Statuses that an answer had and that the OpenAPI document does not have for its path and method."""
    found = []
    for (method, path), statuses in outcome.seen.items():
        operation = paths.get(path, {}).get(method.lower())
        if operation is not None:
            documented = {int(status) for status in operation["responses"]}  # type: ignore[attr-defined]
            found += [f"{method} {path}: {status}" for status in sorted(statuses - documented - {0})]
    return found


def published_ids(settings: Settings, project_id: str) -> set[str]:
    """The messageIds of a project that stand in `events.raw`."""
    return asyncio.run(_published_ids(settings, project_id))


async def _published_ids(settings: Settings, project_id: str) -> set[str]:
    consumer = AIOKafkaConsumer(**client_options(settings), auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(RAW, partition) for partition in range(settings.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        ids: set[str] = set()
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                stamps = (read_stamp(tuple(record.headers)) for record in records)
                ids.update(stamp.message_id for stamp in stamps if stamp.project_id == project_id)
        return ids
    finally:
        await consumer.stop()


def await_settled(store: Store, project_id: str, published: set[str], timeout_s: float) -> None:
    """Wait until each of these messages is stored or a dead letter; fail where one is neither, or was never sent."""
    eventually(
        lambda: _settled_count(store, project_id) >= len(published),
        f"each of {len(published)} messages is stored or a dead letter",
        timeout_s,
        poll_s=0.5,
    )
    assert settled_ids(store, project_id) == published


def settled_ids(store: Store, project_id: str) -> set[str]:
    """The messageIds that are stored or dead letters."""
    return {str(row["id"]) for row in store.query(f"SELECT id FROM ({_SETTLED})", {"project": project_id})}


def _settled_count(store: Store, project_id: str) -> int:
    [row] = store.query(f"SELECT count() AS n FROM ({_SETTLED})", {"project": project_id})
    return int(row["n"])
