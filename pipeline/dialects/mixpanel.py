"""Mixpanel's wire format: the rules of a record, and one record to one event.

The rules stand here once: the ingress answers by them at once, and the pipeline reads what was published by the same.
"""

from typing import Final, cast, get_args

import msgspec
from msgspec import Raw

from pipeline.dialects.mixpanel_context import context_of, library_of, traits_of
from pipeline.dialects.mixpanel_event import read_event
from pipeline.dialects.mixpanel_fields import Endpoint, Invalid, Record
from pipeline.dialects.mixpanel_update import decode_traits, read_update
from pipeline.instants import corrected
from pipeline.json_text import as_object, members_of
from pipeline.outcome import Rejected
from pipeline.session import session_of
from pipeline.traits import group_traits, person_traits
from topics.control import KeyKind
from topics.raw import EMPTY_OBJECT, Stamp
from topics.rejected import Reason
from topics.stitched import StitchedEvent

ENDPOINTS: Final = get_args(Endpoint)
UPDATES: Final[frozenset[Endpoint]] = frozenset({"engage", "groups"})

_NULL: Final = Raw(b"null")

# What names the project says nothing of the event, and a token has no place in a column that is asked by path.
_TOKENS: Final = ("token", "$token")


class Head(msgspec.Struct, frozen=True, gc=False):
    """What names a record, whether its rules hold or not; None for what is absent or no text."""

    token: str | None
    insert_id: str | None


class _EventHead(msgspec.Struct, gc=False):
    properties: Raw = EMPTY_OBJECT


class _PropertiesHead(msgspec.Struct, gc=False):
    token: Raw = _NULL
    insert_id: Raw = msgspec.field(name="$insert_id", default=_NULL)


class _UpdateHead(msgspec.Struct, gc=False):
    token: Raw = msgspec.field(name="$token", default=_NULL)
    insert_id: Raw = msgspec.field(name="$insert_id", default=_NULL)


_decode_event_head = msgspec.json.Decoder(_EventHead).decode
_decode_properties_head = msgspec.json.Decoder(_PropertiesHead).decode
_decode_update_head = msgspec.json.Decoder(_UpdateHead).decode
_decode_text = msgspec.json.Decoder(str).decode


def read_record(value: bytes, endpoint: Endpoint, key_kind: KeyKind, received_at_ms: int) -> Record | Invalid:
    """One record, if every rule holds; the key is the one that it is sent with.

    Raises msgspec.DecodeError and RecursionError where it is no JSON that can be read.
    """
    if endpoint in UPDATES:
        return read_update(value, endpoint, received_at_ms)
    return read_event(value, endpoint, key_kind, received_at_ms)


def read_head(value: bytes, endpoint: Endpoint) -> Head:
    """What names a record, as far as that can be read. Raises as `read_record` does."""
    try:
        if endpoint in UPDATES:
            update = _decode_update_head(value)
            return Head(_text(update.token), _text(update.insert_id))
        properties = _decode_event_head(value).properties
        event = _decode_properties_head(properties)
    except msgspec.ValidationError:
        return Head(None, None)
    return Head(_text(event.token), _text(event.insert_id))


def read_call(value: bytes, stamp: Stamp) -> StitchedEvent | Rejected:
    """One record as its client wrote it, and what the ingress stamped, as an event; nobody is attributed yet.

    Raises as `read_record` does.
    """
    if stamp.call not in ENDPOINTS:
        return Rejected("validate", Reason.UNKNOWN_TYPE, f"{stamp.call!r} is no endpoint of Mixpanel's")
    record = read_record(value, cast(Endpoint, stamp.call), stamp.key_kind, stamp.received_at_ms)
    if isinstance(record, Invalid):
        return Rejected("validate", record.reason, f"{record.field} {record.message}".strip())
    members = members_of(record.given)
    warnings: list[str] = []
    timestamp = corrected(stamp.received_at_ms, None, record.time_ms)
    anonymous_id, user_id = record.anonymous_id, record.user_id
    if anonymous_id is None and user_id is None:
        anonymous_id = stamp.anonymous_id
    return StitchedEvent(
        project_id=stamp.project_id,
        message_id=stamp.message_id,
        type=record.type,
        event_name=record.name,
        anonymous_id=anonymous_id,
        user_id=user_id,
        stitched_user_id=user_id,
        session_id=session_of(record.anonymous_id, timestamp),
        timestamp=timestamp / 1000,
        original_timestamp=None if record.time_ms is None else record.time_ms / 1000,
        sent_at=None,
        received_at=stamp.received_at_ms / 1000,
        properties=_properties(record, members),
        traits=_traits(record, stamp.call, warnings),
        context=context_of(members, stamp),
        library=library_of(members),
        warnings=tuple(warnings),
        raw=Raw(value),
    )


def _properties(record: Record, members: dict[str, Raw]) -> Raw:
    """What the client gave, without the token, and without the traits of a `$set`: they are the event's own."""
    kept: dict[str, object] = {**members}
    for name in _TOKENS:
        kept.pop(name, None)
    if record.type == "identify":
        kept.pop("$set", None)
    elif record.type == "group":
        kept.pop("$set", None)
        kept.setdefault("groupId", members["$group_id"])
    if record.previous_id is not None:
        kept["previousId"] = record.previous_id
    return as_object(kept)


def _traits(record: Record, endpoint: str, warnings: list[str]) -> Raw:
    told = traits_of(decode_traits(record.given)) if endpoint in UPDATES else EMPTY_OBJECT
    if record.type == "identify":
        return person_traits(told, EMPTY_OBJECT, record.user_id, warnings)
    return group_traits(told, warnings) if record.type == "group" else EMPTY_OBJECT


def _text(value: Raw) -> str | None:
    return (_decode_text(value) or None) if bytes(value).startswith(b'"') else None
