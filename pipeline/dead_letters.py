"""Dead letters: the record that says a record was refused, and the row that the store keeps of it.

The record keeps key, value and headers as they were, so that it can be put back; one header more says the rest.
"""

import json
from typing import Final

import orjson

from pipeline.outcome import Rejected
from topics import rejected
from topics.names import STITCHED
from topics.raw import read_stamp
from topics.records import RawRecord, Record
from topics.rejected import REJECTION_HEADER, Rejection, read_rejection

MAX_DETAIL: Final = 1000

# column of the store: member of a client's call
_NAMES: Final = {
    "type": "type",
    "event_name": "event",
    "anonymous_id": "anonymousId",
    "user_id": "userId",
    "message_id": "messageId",
}
# what a stitched record holds besides JSON
_SCALARS: Final = (
    *("project_id", "message_id", "type", "event_name", "anonymous_id", "user_id", "stitched_user_id"),
    *("session_id", "timestamp", "original_timestamp", "sent_at", "received_at", "library"),
)


def dead_letter(record: RawRecord, refused: Rejected) -> Record:
    """The record for `events.rejected`, with the refused record's own time."""
    rejection = Rejection(
        source_topic=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        step=refused.step,
        reason=refused.reason,
        detail=refused.detail[:MAX_DETAIL],
        rejected_at_ms=record.timestamp,
    )
    return record.key, record.value, record.timestamp, (*record.headers, (REJECTION_HEADER, rejected.encode(rejection)))


def row(letter: RawRecord) -> bytes:
    """The row of `rejected_events` for a record of `events.rejected`, in JSONEachRow form.

    Its scalar columns hold what could be read of the event, its `raw` the refused bytes, UTF-8 or not. The columns for
    JSON stay empty: what the store has refused once is not tried again in another table.
    """
    rejection = read_rejection(letter.headers)
    columns: dict[str, object] = _read_columns(letter, rejection)
    columns.update(
        reason=rejection.reason,
        detail=rejection.detail,
        rejected_at=rejection.rejected_at_ms / 1000,
        step=rejection.step,
        source_topic=rejection.source_topic,
        source_partition=rejection.source_partition,
        source_offset=rejection.source_offset,
        record_key=_text(letter.key),
        headers={name: _text(value) for name, value in letter.headers if name != REJECTION_HEADER},
        raw=_text(letter.value),
    )
    return json.dumps(columns, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _read_columns(letter: RawRecord, rejection: Rejection) -> dict[str, object]:
    seen = _members(letter.value)
    if rejection.source_topic == STITCHED:
        return {name: seen[name] for name in _SCALARS if isinstance(seen.get(name), str | int | float)}
    columns: dict[str, object] = {
        column: str(seen[name]) for column, name in _NAMES.items() if isinstance(seen.get(name), str | int)
    }
    try:
        stamp = read_stamp(letter.headers)
    except ValueError:
        return columns
    columns.update(project_id=stamp.project_id, message_id=stamp.message_id, received_at=stamp.received_at_ms / 1000)
    if stamp.call:
        columns["type"] = stamp.call
    return columns


def _members(value: bytes | None) -> dict[str, object]:
    try:
        decoded = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _text(value: bytes | None) -> str:
    """Bytes as text that `surrogateescape` turns back into the very same bytes."""
    return (value or b"").decode("utf-8", "surrogateescape")
