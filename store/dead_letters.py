"""Dead letters as the store keeps them: found by project, reason and time, given back byte for byte, and removed.

A letter's place (topic, partition, offset of the record that was refused) names it. Of one place there may be several
letters, where an event that was kept had several things refused of it.

A letter that is dropped leaves a note behind: which message of which project stood there, when it came and why it was
refused, with the step `dropped` and nothing of its content. So what was received can still be accounted for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from store.client import Row, Store
from store.tables import REJECTED

DROPPED = "dropped"


class Place(NamedTuple):
    """Where the refused record stood."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters are meant; None is any. By `rejected_at`: from `since`, and before `until`."""

    project_id: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter whole. `key`, `value` and `headers` are the refused record's own bytes; Kafka's null and the empty
    text look alike in the store."""

    place: Place
    project_id: str
    message_id: str | None
    step: str
    reason: str
    detail: str
    rejected_at: datetime
    received_at: datetime | None
    key: bytes
    value: bytes
    headers: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Span:
    """The letters of one partition that are meant: how many, and the offset of the last. What comes later is not."""

    topic: str
    partition: int
    letters: int
    last_offset: int


_COLUMNS = (
    "source_topic, source_partition, source_offset, project_id, message_id, step, reason, detail, rejected_at, "
    "received_at, record_key, raw, headers"
)
_AT_PARTITION = "source_topic = {topic:String} AND source_partition = {partition:Int32}"
# An event of which only a tie was refused is stored: there is nothing to try again.
_TO_RETRY = "step != 'link'"
_OPEN = f"step != '{DROPPED}'"
_NOTED = "project_id, message_id, received_at, rejected_at, reason, source_topic, source_partition, source_offset"


def newest(store: Store, chosen: Chosen, limit: int) -> list[Letter]:
    """The newest first."""
    where, params = _where(chosen)
    order = "rejected_at DESC, source_topic, source_partition, source_offset DESC, step, reason"
    rows = store.query(f"SELECT {_COLUMNS} FROM rejected_events WHERE {where} ORDER BY {order} LIMIT {limit}", params)
    return [_letter(row) for row in rows]


def letters_at(store: Store, place: Place) -> list[Letter]:
    where = f"{_OPEN} AND {_AT_PARTITION} AND source_offset = {{offset:Int64}}"
    rows = store.query(f"SELECT {_COLUMNS} FROM rejected_events WHERE {where} ORDER BY step, reason", place._asdict())
    return [_letter(row) for row in rows]


def spans(store: Store, chosen: Chosen, *, to_retry: bool = False) -> list[Span]:
    """Where the letters are that are meant by now, by partition. `to_retry`: only those that can be tried again."""
    where, params = _where(chosen, to_retry=to_retry)
    rows = store.query(
        "SELECT source_topic AS topic, source_partition AS partition, count() AS letters, "
        f"max(source_offset) AS last_offset FROM rejected_events WHERE {where} GROUP BY ALL ORDER BY ALL",
        params,
    )
    return [Span(**row) for row in rows]


def letters_to_retry(store: Store, chosen: Chosen, span: Span, at_once: int) -> Iterator[list[Letter]]:
    """A span's letters that can be tried again, in order of offset, so many at once."""
    where, params = _where(chosen, to_retry=True)
    sql = (
        f"SELECT {_COLUMNS} FROM rejected_events WHERE {where} AND {_AT_PARTITION} AND source_offset > {{after:Int64}} "
        f"AND source_offset <= {{last:Int64}} ORDER BY source_offset LIMIT {at_once}"
    )
    after = -1
    while after < span.last_offset:
        given = {"topic": span.topic, "partition": span.partition, "after": after, "last": span.last_offset}
        found = [_letter(row) for row in store.query(sql, {**params, **given})]
        if not found:
            return
        yield found
        after = found[-1].place.offset


def remove_retried(store: Store, span: Span, offsets: Sequence[int]) -> None:
    """Remove the letters of these offsets that can be tried again, all copies of them. Safe to repeat."""
    store.command(
        f"DELETE FROM {REJECTED} WHERE {_AT_PARTITION} AND source_offset IN {{offsets:Array(Int64)}} "
        f"AND {_OPEN} AND {_TO_RETRY}",
        {"topic": span.topic, "partition": span.partition, "offsets": list(offsets)},
    )


def drop(store: Store, chosen: Chosen, span: Span) -> None:
    """Remove a span's letters, all copies of them, and leave their notes. Safe to repeat."""
    where, params = _where(chosen)
    where = f"{where} AND {_AT_PARTITION} AND source_offset <= {{last:Int64}}"
    params |= {"topic": span.topic, "partition": span.partition, "last": span.last_offset}
    # Step 1. The notes, where a message would else be unaccounted for.
    store.command(
        f"INSERT INTO {REJECTED} (step, {_NOTED}) SELECT '{DROPPED}', {_NOTED} FROM {REJECTED} FINAL "
        f"WHERE {where} AND {_TO_RETRY}",
        params,
    )
    # Step 2. Only then are the letters removed.
    store.command(f"DELETE FROM {REJECTED} WHERE {where}", params)


def _where(chosen: Chosen, *, to_retry: bool = False) -> tuple[str, dict[str, object]]:
    conditions = {
        "project_id = {project:String}": ("project", chosen.project_id),
        "reason = {reason:String}": ("reason", chosen.reason),
        "rejected_at >= {since:DateTime64(3, 'UTC')}": ("since", chosen.since),
        "rejected_at < {until:DateTime64(3, 'UTC')}": ("until", chosen.until),
    }
    given = {condition: (name, value) for condition, (name, value) in conditions.items() if value is not None}
    return " AND ".join([*given, _OPEN, *([_TO_RETRY] if to_retry else [])]), dict(given.values())


def _letter(row: Row) -> Letter:
    return Letter(
        place=Place(row["source_topic"], row["source_partition"], row["source_offset"]),
        project_id=row["project_id"],
        message_id=row["message_id"],
        step=row["step"],
        reason=row["reason"],
        detail=row["detail"],
        rejected_at=row["rejected_at"],
        received_at=row["received_at"],
        key=_bytes(row["record_key"]),
        value=_bytes(row["raw"]),
        headers={str(name): _bytes(value) for name, value in row["headers"].items()},
    )


def _bytes(value: Any) -> bytes:
    """Inside a map the native wire gives bytes where they are no UTF-8."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
