"""The Segment family's wire format (Segment, RudderStack, Customer.io Data Pipelines): one call to one event.

The rules are those of Segment's public Spec (Common Fields, Identify, Track, Page, Screen, Group, Alias), and where its
relatives differ, of theirs: RudderStack's traits in the context, Customer.io's e-mail addresses as ids.
"""

from typing import Final, get_args

import msgspec

from pipeline.dialects.segment_context import NULL, Context, Library, context_of
from pipeline.instants import corrected, read_instant
from pipeline.json_text import as_object, is_null, merged, object_of, object_or_empty
from pipeline.outcome import Rejected
from pipeline.reserved import UNALIAS
from pipeline.session import session_of
from pipeline.traits import email_of, group_traits, person_traits
from topics.raw import EMPTY_OBJECT, Stamp
from topics.rejected import Reason
from topics.stitched import EventType, StitchedEvent

_EVENT_NAMES: Final[dict[str | None, str]] = {
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
    group_id: str | int | None = None
    previous_id: str | int | None = None
    timestamp: str | int | float | None = None
    original_timestamp: str | int | float | None = None
    sent_at: str | int | float | None = None
    name: msgspec.Raw = NULL
    category: msgspec.Raw = NULL
    channel: msgspec.Raw = NULL
    properties: msgspec.Raw = EMPTY_OBJECT
    traits: msgspec.Raw = EMPTY_OBJECT
    context: msgspec.Raw = EMPTY_OBJECT
    integrations: msgspec.Raw = EMPTY_OBJECT


_decode_call = msgspec.json.Decoder(_Call).decode


def read_call(value: bytes, stamp: Stamp) -> StitchedEvent | Rejected:
    """One call as its client wrote it, and what the ingress stamped, as an event; nobody is attributed yet.

    Raises msgspec.DecodeError (or its ValidationError) and RecursionError where the bytes are not such a call.
    """
    # A call of a function costs 1 % of this one: what most clients do not say is asked for here, before one is made.
    call = _decode_call(value)
    kind = stamp.call or call.type
    if not (kind == "track" and call.event):
        refused = _refused(kind, call)
        if refused is not None:
            return refused
    warnings: list[str] = []
    context, seen = context_of(call.context, call.channel, stamp, warnings)
    original, sent_at = _instants(call, stamp, warnings)
    timestamp = corrected(stamp.received_at_ms, sent_at, original)
    anonymous_id = None if call.anonymous_id is None else _text(call.anonymous_id)
    user_id = None if call.user_id is None else _text(call.user_id)
    traits = call.traits
    if traits is not EMPTY_OBJECT:
        traits = object_or_empty(traits, "traits", warnings)
    if kind == "identify":
        user_id, traits = _identified(call, seen, user_id, traits, warnings)
    elif kind == "group":
        traits = group_traits(traits, warnings)
    properties = object_or_empty(call.properties, "properties", warnings)
    if kind != "track" or call.previous_id is not None:
        properties = _properties(kind, call, properties)
    integrations = stamp.integrations
    if call.integrations is not EMPTY_OBJECT:
        integrations = merged(integrations, object_or_empty(call.integrations, "integrations", warnings))
    session_id = None if seen.session_id is None else _text(seen.session_id)
    # By position, in the order of the fields: by name it takes four times as many instructions, 8 % of a whole event's.
    return StitchedEvent(
        stamp.project_id,
        stamp.message_id,
        kind,  # type: ignore[arg-type]  # it is not refused, so it is one of them
        _EVENT_NAMES.get(kind) or call.event or "",
        anonymous_id,
        user_id,
        user_id,  # stitched_user_id: its own, as far as is known here
        session_id or session_of(anonymous_id, timestamp),
        timestamp / 1000,
        None if original is None else original / 1000,
        None if sent_at is None else sent_at / 1000,
        stamp.received_at_ms / 1000,
        properties,
        traits,
        context,
        integrations,
        None if seen.library is None else _library(seen.library),
        tuple(warnings),
        msgspec.Raw(value),
    )


def _instants(call: _Call, stamp: Stamp, warnings: list[str]) -> tuple[int | None, int | None]:
    """When it happened and when it was sent, by the client's clock."""
    happened = call.original_timestamp or call.timestamp or None
    sent = call.sent_at or stamp.sent_at or None
    original, sent_at = read_instant(happened), read_instant(sent)
    if original is None and happened is not None:
        warnings.append("timestamp_unreadable")
    if sent_at is None and sent is not None:
        warnings.append("sentAt_unreadable")
    return original, sent_at


def _refused(kind: str | None, call: _Call) -> Rejected | None:
    if kind not in _TYPES:
        return Rejected("validate", Reason.UNKNOWN_TYPE, f"type is not one of {', '.join(sorted(_TYPES))}")
    if kind == "track" and not call.event:
        return Rejected("validate", Reason.MISSING_FIELD, "track needs event")
    if kind == "group" and not call.group_id:
        return Rejected("validate", Reason.MISSING_FIELD, "group needs groupId")
    if kind == "alias" and not (call.user_id and call.previous_id):
        return Rejected("validate", Reason.MISSING_FIELD, "alias needs userId and previousId")
    return None


def _identified(
    call: _Call, seen: Context, user_id: str | None, traits: msgspec.Raw, warnings: list[str]
) -> tuple[str | None, msgspec.Raw]:
    """The user of an identify and its traits. An empty userId gives way to the trait `email`, except where the client
    means that nobody has logged in: so RudderStack's write it, and so does an absent one beside an anonymous id."""
    under = object_or_empty(seen.traits, "context.traits", warnings)
    traits = person_traits(traits, under, user_id, warnings)
    if user_id is not None:
        return user_id, traits
    if call.anonymous_id and (call.user_id is None or _is_of_rudderstack(seen.library)):
        return None, traits
    email = email_of(traits)
    if email is not None:
        warnings.append("user_id_from_email")
    return email, traits


def _properties(kind: str | None, call: _Call, properties: msgspec.Raw) -> msgspec.Raw:
    """The properties with what the call says beside them."""
    match kind:
        case "page" | "screen":
            return merged(_named(call), properties)
        case "group":
            return merged(object_of(groupId=call.group_id), properties)
        case "alias":
            return merged(object_of(previousId=call.previous_id), properties)
        case "track" if call.event == UNALIAS and call.previous_id:
            return merged(properties, object_of(previousId=call.previous_id))
        case _:
            return properties


def _named(call: _Call) -> msgspec.Raw:
    """What a page or screen call says beside its properties."""
    return as_object(
        {name: text for name, text in (("name", call.name), ("category", call.category)) if not is_null(text)}
    )


def _library(library: Library) -> str | None:
    if not library.name:
        return None
    return f"{library.name}/{library.version}" if library.version else library.name


def _is_of_rudderstack(library: Library | None) -> bool:
    return library is not None and "rudder" in (library.name or "").lower()


def _text(value: str | int) -> str | None:
    return None if value == "" else str(value)
