"""The first step: a raw record is an event that can be stored, or it is refused with a reason.

It decides from the record and the settings alone, so that a replay with better rules can decide again.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from pipeline import reserved
from pipeline.blocked import is_blocked
from pipeline.dialects import millimetric, mixpanel, segment
from pipeline.outcome import Rejected
from pipeline.rules import Rules
from pipeline.surrogates import mended
from topics.raw import MAX_MESSAGE_ID, Dialect, Stamp, read_stamp
from topics.records import RawRecord
from topics.rejected import Reason
from topics.stitched import StitchedEvent

SYNTHETIC_PREFIX: Final = "$blocked:"
BLOCKED_USER_ID: Final = "blocked_user_id"
BLOCKED_ANONYMOUS_ID: Final = "blocked_anonymous_id"


_READERS: Final[dict[Dialect, Callable[[bytes, Stamp], StitchedEvent | Rejected]]] = {
    Dialect.SEGMENT: segment.read_call,
    Dialect.MILLIMETRIC: millimetric.read_call,
    Dialect.MIXPANEL: mixpanel.read_call,
}
_LONGER_IDS: Final = {Dialect.MILLIMETRIC: millimetric.MAX_EVENT_ID}


def validate(record: RawRecord, rules: Rules) -> StitchedEvent | Rejected:
    """The record's event, attributed to nobody but its own user yet, or why it is refused."""
    try:
        stamp = read_stamp(record.headers)
    except (ValueError, RecursionError) as error:
        return _rejected(Reason.NO_STAMP, f"not published by an ingress: {error}")
    value = record.value or b""
    if len(value) > rules.max_event_bytes:
        return _rejected(Reason.TOO_LARGE, f"{len(value)} bytes; the limit is {rules.max_event_bytes}")
    if len(stamp.message_id) > MAX_MESSAGE_ID and len(stamp.message_id) > _LONGER_IDS.get(stamp.dialect, 0):
        return _rejected(Reason.INVALID_FIELD, f"messageId is longer than {MAX_MESSAGE_ID} characters")
    event = _read(value, stamp)
    if isinstance(event, Rejected):
        return event
    project = rules.of(stamp.project_id)
    if event.event_name in reserved.NAMES:
        may_tie_users = stamp.key_kind == "secret" or project.public_user_edges
        checked = reserved.checked(event, may_tie_users=may_tie_users)
        if isinstance(checked, Rejected):
            return checked
        event = checked
    return _with_ids(event, project.blocked_ids)


def _read(value: bytes, stamp: Stamp) -> StitchedEvent | Rejected:
    reader = _READERS.get(stamp.dialect)
    if reader is None:
        return _rejected(Reason.UNKNOWN_TYPE, f"no reader for the dialect {stamp.dialect}")
    try:
        if not value.isascii():
            value.decode()
        return reader(value, stamp)
    except msgspec.ValidationError as error:
        in_a_field = " - at `$." in str(error)
        return _rejected(Reason.INVALID_FIELD if in_a_field else Reason.NOT_AN_OBJECT, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        readable = mended(value)
        if readable is None:
            return _rejected(Reason.INVALID_JSON, _without_value(error))
        return _with_raw(_read(readable, stamp), value)
    except RecursionError:
        return _rejected(Reason.TOO_DEEP, "nested too deep to be read")


def _with_raw(event: StitchedEvent | Rejected, value: bytes) -> StitchedEvent | Rejected:
    """The event with the bytes that it came as, written as a text: as JSON no reader of the topic would take them."""
    if isinstance(event, Rejected):
        return event
    raw = msgspec.Raw(msgspec.json.encode(value.decode()))
    return msgspec.structs.replace(event, raw=raw, warnings=(*event.warnings, "half_surrogate_pair"))


def _are_placeholders(event: StitchedEvent, further: frozenset[str]) -> tuple[bool, bool]:
    """Whether the event's user id names nobody, and its anonymous id."""
    user_id, anonymous_id = event.user_id, event.anonymous_id
    return (
        user_id is not None and is_blocked(user_id, further),
        anonymous_id is not None and is_blocked(anonymous_id, further),
    )


def _with_ids(event: StitchedEvent, further: frozenset[str]) -> StitchedEvent | Rejected:
    """The event with placeholder ids taken out: a blocked user is no user, a blocked anonymous id links nothing."""
    anonymous_id, user_id = event.anonymous_id, event.user_id
    if anonymous_id is None and user_id is None:
        if event.event_name in reserved.OF_TWO_IDS:
            return event
        return _rejected(Reason.MISSING_ID, "neither userId nor anonymousId")
    user_blocked, anonymous_blocked = _are_placeholders(event, further)
    if not (user_blocked or anonymous_blocked):
        return event
    kept_user = None if user_blocked else user_id
    synthetic = anonymous_blocked or (anonymous_id is None and kept_user is None)
    return msgspec.structs.replace(
        event,
        user_id=kept_user,
        stitched_user_id=kept_user,
        anonymous_id=f"{SYNTHETIC_PREFIX}{event.message_id}" if synthetic else anonymous_id,
        warnings=(
            *event.warnings,
            *([BLOCKED_USER_ID] if user_blocked else []),
            *([BLOCKED_ANONYMOUS_ID] if anonymous_blocked else []),
        ),
    )


def _rejected(reason: Reason, detail: str) -> Rejected:
    return Rejected("validate", reason, detail)


def _without_value(error: Exception) -> str:
    """What is wrong and where, without the bytes themselves: a detail is read by people who may not see the data."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    return str(error)
