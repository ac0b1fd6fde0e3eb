"""Dead letters: the record that says a record was refused, and the row that the store keeps of it.

The record keeps key, value and headers as they were, so that it can be put back; one header more says the rest.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import msgspec

from pipeline.outcome import Rejected
from pipeline.surrogates import mended
from topics import rejected
from topics.names import STITCHED
from topics.raw import LATEST_MS, read_stamp
from topics.records import UNREADABLE, RawRecord, Record
from topics.rejected import REJECTION_HEADER, Reason, Rejection, read_rejection

MAX_DETAIL: Final = 1000

# column of the store: what the dialects call it
_NAMES: Final = {
    "type": ("type",),
    "event_name": ("event",),
    "anonymous_id": ("anonymousId", "anonymous_id"),
    "user_id": ("userId", "user_id"),
    "message_id": ("messageId", "event_id"),
}
# what a stitched record holds besides JSON
_TEXTS: Final = (
    *("project_id", "message_id", "type", "event_name", "anonymous_id", "user_id", "stitched_user_id"),
    *("session_id", "library"),
)
_INSTANTS: Final = ("timestamp", "original_timestamp", "sent_at", "received_at")
_READ: Final = frozenset({*(name for names in _NAMES.values() for name in names), *_TEXTS, *_INSTANTS})

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_scalar = msgspec.json.Decoder(str | int | float).decode


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
    JSON stay empty: what the store has refused once is not tried again in another table. Whatever the letter holds, the
    store takes its row: nothing could be done with one that it refuses.
    """
    rejection = _rejection_of(letter)
    columns: dict[str, object] = _read_columns(letter, rejection)
    columns.update(
        reason=rejection.reason,
        detail=rejection.detail,
        rejected_at=_seconds(rejection.rejected_at_ms),
        step=rejection.step,
        source_topic=rejection.source_topic,
        source_partition=rejection.source_partition,
        source_offset=rejection.source_offset,
        record_key=_text(letter.key),
        headers={name: _text(value) for name, value in letter.headers if name != REJECTION_HEADER},
        raw=_text(letter.value),
    )
    return json.dumps(columns, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _rejection_of(letter: RawRecord) -> Rejection:
    """Why it was refused; of a record that is no dead letter, that it is none."""
    try:
        return read_rejection(letter.headers)
    except UNREADABLE as error:
        return Rejection(
            source_topic=letter.topic,
            source_partition=letter.partition,
            source_offset=letter.offset,
            step="sink",
            reason=Reason.NO_STAMP,
            detail=f"not published as a dead letter: {error}"[:MAX_DETAIL],
            rejected_at_ms=letter.timestamp,
        )


def _read_columns(letter: RawRecord, rejection: Rejection) -> dict[str, object]:
    seen = _scalars(letter.value or b"")
    if rejection.source_topic == STITCHED:
        return _columns_of_stitched(seen)
    columns: dict[str, object] = {
        column: str(seen[name])
        for column, names in _NAMES.items()
        for name in names
        if isinstance(seen.get(name), str | int)
    }
    try:
        stamp = read_stamp(letter.headers)
    except ValueError:
        return columns
    columns.update(project_id=stamp.project_id, message_id=stamp.message_id, received_at=_seconds(stamp.received_at_ms))
    if stamp.call:
        columns["type"] = stamp.call
    return columns


def _columns_of_stitched(seen: Mapping[str, str | int | float]) -> dict[str, object]:
    texts = {name: str(seen[name]) for name in _TEXTS if name in seen}
    instants = {name: _seconds(at * 1000) for name in _INSTANTS if isinstance(at := seen.get(name), int | float)}
    return {**texts, **instants}


def _seconds(at_ms: float) -> float:
    """An instant that the store can hold, the nearest one."""
    return round(min(max(at_ms, 0), LATEST_MS)) / 1000


def _scalars(value: bytes) -> dict[str, str | int | float]:
    """The members that are a text or a number, each read by itself: what is wrong with one hides no other."""
    try:
        value.decode()
        members = _decode_members(mended(value) or value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    scalars = {}
    for name in members.keys() & _READ:
        with suppress(msgspec.ValidationError):
            scalars[name] = _decode_scalar(members[name])
    return scalars


def _text(value: bytes | None) -> str:
    """Bytes as text that `surrogateescape` turns back into the very same bytes."""
    return (value or b"").decode("utf-8", "surrogateescape")
