"""The Segment family's wire format (Segment, RudderStack, Customer.io Data Pipelines): one call to one event.

The rules are those of Segment's public Spec (Common Fields, Identify, Track, Page, Screen, Group, Alias).
"""

from typing import Final, get_args

import msgspec

from pipeline.instants import corrected, read_instant
from pipeline.json_text import is_null, is_object, merged, object_of, with_new_member
from pipeline.outcome import Rejected
from topics.raw import EMPTY_OBJECT, Stamp
from topics.rejected import Reason
from topics.stitched import EventType, StitchedEvent

SESSION_S: Final = 1800

_EVENT_NAMES: Final[dict[EventType, str]] = {
    "identify": "$identify",
    "page": "$page",
    "screen": "$screen",
    "group": "$group",
    "alias": "$alias",
}
_TYPES: Final[frozenset[str]] = frozenset(get_args(EventType))


class _Call(msgspec.Struct, rename="camel", gc=False):
    type: str | None = None
    user_id: str | int | None = None
    anonymous_id: str | int | None = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    group_id: str | int | None = None
    previous_id: str | int | None = None
    timestamp: str | int | float | None = None
    original_timestamp: str | int | float | None = None
    sent_at: str | int | float | None = None
    properties: msgspec.Raw = EMPTY_OBJECT
    traits: msgspec.Raw = EMPTY_OBJECT
    context: msgspec.Raw = EMPTY_OBJECT
    integrations: msgspec.Raw = EMPTY_OBJECT


class _Library(msgspec.Struct, gc=False):
    name: str | None = None
    version: str | None = None


class _Context(msgspec.Struct, rename="camel", gc=False):
    library: _Library | None = None
    ip: str | None = None
    session_id: str | int | None = None


_decode_call = msgspec.json.Decoder(_Call).decode
_decode_context = msgspec.json.Decoder(_Context).decode


def read_call(value: bytes, stamp: Stamp) -> StitchedEvent | Rejected:
    """One call as its client wrote it, and what the ingress stamped, as an event; nobody is attributed yet.

    Raises msgspec.DecodeError (or its ValidationError) and RecursionError where the bytes are not such a call.
    """
    call = _decode_call(value)
    kind = _type_of(call, stamp)
    if isinstance(kind, Rejected):
        return kind
    warnings: list[str] = []
    context, seen = _context(call, stamp, warnings)
    original = _instant(call.original_timestamp or call.timestamp, "timestamp", warnings)
    sent_at = _instant(call.sent_at or stamp.sent_at, "sentAt", warnings)
    timestamp = corrected(stamp.received_at_ms, sent_at, original)
    anonymous_id, user_id = _text(call.anonymous_id), _text(call.user_id)
    return StitchedEvent(
        project_id=stamp.project_id,
        message_id=stamp.message_id,
        type=kind,
        event_name=_EVENT_NAMES.get(kind) or call.event or "",
        anonymous_id=anonymous_id,
        user_id=user_id,
        stitched_user_id=user_id,
        session_id=_text(seen.session_id) or _session(anonymous_id, timestamp),
        timestamp=timestamp / 1000,
        original_timestamp=None if original is None else original / 1000,
        sent_at=None if sent_at is None else sent_at / 1000,
        received_at=stamp.received_at_ms / 1000,
        properties=_properties(kind, call, warnings),
        traits=_object(call.traits, "traits", warnings),
        context=context,
        integrations=merged(stamp.integrations, _object(call.integrations, "integrations", warnings)),
        library=_library(seen.library),
        warnings=tuple(warnings),
        raw=msgspec.Raw(value),
    )


def _type_of(call: _Call, stamp: Stamp) -> EventType | Rejected:
    kind = stamp.call or call.type
    if kind not in _TYPES:
        return Rejected("validate", Reason.UNKNOWN_TYPE, f"type is not one of {', '.join(sorted(_TYPES))}")
    if kind == "track" and not call.event:
        return Rejected("validate", Reason.MISSING_FIELD, "track needs event")
    if kind == "group" and not call.group_id:
        return Rejected("validate", Reason.MISSING_FIELD, "group needs groupId")
    if kind == "alias" and not (call.user_id and call.previous_id):
        return Rejected("validate", Reason.MISSING_FIELD, "alias needs userId and previousId")
    return kind  # type: ignore[return-value]  # it is in _TYPES


def _context(call: _Call, stamp: Stamp, warnings: list[str]) -> tuple[msgspec.Raw, _Context]:
    context = merged(stamp.context, _object(call.context, "context", warnings))
    try:
        seen = _decode_context(context)
    except msgspec.ValidationError:
        warnings.append("context_field_of_wrong_type")
        return context, _Context()
    if stamp.key_kind == "public" and seen.ip is None and stamp.ip is not None:
        context = with_new_member(context, "ip", stamp.ip)
    return context, seen


def _properties(kind: EventType, call: _Call, warnings: list[str]) -> msgspec.Raw:
    properties = _object(call.properties, "properties", warnings)
    match kind:
        case "page" | "screen":
            return merged(object_of(name=call.name, category=call.category), properties)
        case "group":
            return merged(object_of(groupId=call.group_id), properties)
        case "alias":
            return merged(object_of(previousId=call.previous_id), properties)
        case _:
            return properties


def _object(text: msgspec.Raw, name: str, warnings: list[str]) -> msgspec.Raw:
    if text is EMPTY_OBJECT or is_object(text):
        return text
    if not is_null(text):
        warnings.append(f"{name}_not_an_object")
    return EMPTY_OBJECT


def _instant(value: str | int | float | None, name: str, warnings: list[str]) -> int | None:
    if not value:
        return None
    instant = read_instant(value)
    if instant is None:
        warnings.append(f"{name}_unreadable")
    return instant


def _session(anonymous_id: str | None, timestamp_ms: int) -> str | None:
    return f"{anonymous_id}-{timestamp_ms // (SESSION_S * 1000)}" if anonymous_id else None


def _library(library: _Library | None) -> str | None:
    if library is None or not library.name:
        return None
    return f"{library.name}/{library.version}" if library.version else library.name


def _text(value: str | int | None) -> str | None:
    return None if value is None or value == "" else str(value)
