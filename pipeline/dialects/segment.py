"""The Segment family's wire format (Segment, RudderStack, Customer.io Data Pipelines): one call to one event.

The rules are those of Segment's public Spec (Common Fields, Identify, Track, Page, Screen, Group, Alias), and where its
relatives differ, of theirs: RudderStack's traits in the context, Customer.io's e-mail addresses as ids.
"""

from functools import lru_cache
from typing import Final, get_args

import msgspec
from msgspec import UNSET, UnsetType

from pipeline.instants import corrected, read_instant
from pipeline.json_text import as_object, is_null, is_object, members_of, merged, object_of, opening_of, with_opening
from pipeline.outcome import Rejected
from pipeline.reserved import UNALIAS
from pipeline.session import session_of
from pipeline.traits import email_of, group_traits, person_traits
from topics.raw import EMPTY_OBJECT, Stamp
from topics.rejected import Reason
from topics.stitched import EventType, StitchedEvent

# RudderStack's browser client says "web", its servers "sources" or "http" for what they fetched themselves.
_CHANNELS: Final = frozenset({"browser", "server", "mobile", "web", "sources", "http"})
_EVENT_NAMES: Final[dict[str | None, str]] = {
    "identify": "$identify",
    "page": "$page",
    "screen": "$screen",
    "group": "$group",
    "alias": "$alias",
}
_TYPES: Final[frozenset[str]] = frozenset(get_args(EventType))
_NULL: Final = msgspec.Raw(b"null")


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
    name: msgspec.Raw = _NULL
    category: msgspec.Raw = _NULL
    channel: msgspec.Raw = _NULL
    properties: msgspec.Raw = EMPTY_OBJECT
    traits: msgspec.Raw = EMPTY_OBJECT
    context: msgspec.Raw = EMPTY_OBJECT
    integrations: msgspec.Raw = EMPTY_OBJECT


class _Library(msgspec.Struct, gc=False):
    name: str | None = None
    version: str | None = None


class _Context(msgspec.Struct, rename="camel", gc=False):
    """What is looked at in a context. UNSET is what the client did not say at all."""

    library: _Library | None = None
    ip: str | UnsetType | None = UNSET
    user_agent: str | UnsetType | None = UNSET
    channel: str | UnsetType | None = UNSET
    active: bool | None = None
    session_id: str | int | None = None
    traits: msgspec.Raw = EMPTY_OBJECT


_decode_call = msgspec.json.Decoder(_Call).decode
_decode_context = msgspec.json.Decoder(_Context).decode


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
    context, seen = _context(call, stamp, warnings)
    original, sent_at = _instants(call, stamp, warnings)
    timestamp = corrected(stamp.received_at_ms, sent_at, original)
    anonymous_id = None if call.anonymous_id is None else _text(call.anonymous_id)
    user_id = None if call.user_id is None else _text(call.user_id)
    traits = call.traits
    if traits is not EMPTY_OBJECT:
        traits = _object(traits, "traits", warnings)
    if kind == "identify":
        user_id, traits = _identified(call, seen, user_id, traits, warnings)
    elif kind == "group":
        traits = group_traits(traits, warnings)
    properties = _object(call.properties, "properties", warnings)
    if kind != "track" or call.previous_id is not None:
        properties = _properties(kind, call, properties)
    integrations = stamp.integrations
    if call.integrations is not EMPTY_OBJECT:
        integrations = merged(integrations, _object(call.integrations, "integrations", warnings))
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
    call: _Call, seen: _Context, user_id: str | None, traits: msgspec.Raw, warnings: list[str]
) -> tuple[str | None, msgspec.Raw]:
    """The user of an identify and its traits. An empty userId gives way to the trait `email`, except where the client
    means that nobody has logged in: so RudderStack's write it, and so does an absent one beside an anonymous id."""
    under = _object(seen.traits, "context.traits", warnings)
    traits = person_traits(traits, under, user_id, warnings)
    if user_id is not None:
        return user_id, traits
    if call.anonymous_id and (call.user_id is None or _is_of_rudderstack(seen.library)):
        return None, traits
    email = email_of(traits)
    if email is not None:
        warnings.append("user_id_from_email")
    return email, traits


def _context(call: _Call, stamp: Stamp, warnings: list[str]) -> tuple[msgspec.Raw, _Context]:
    """The event's context with what belongs into it, and what is looked at in it."""
    channel = None if call.channel is _NULL else _channel(call.channel, warnings)
    context = call.context if stamp.context is EMPTY_OBJECT else _under_batch(call, stamp, channel, warnings)
    try:
        seen = _decode_context(context)
    except msgspec.ValidationError:
        context = _object(context, "context", warnings)
        seen = _readable_context(context, warnings)
    said = seen.channel or channel
    if said and said not in _CHANNELS:
        warnings.append("channel_unknown")
    return _with_captured(context, seen, stamp, channel), seen


def _under_batch(call: _Call, stamp: Stamp, channel: str | None, warnings: list[str]) -> msgspec.Raw:
    """The call's own context over its batch's. The call's own channel is said by the call, and no batch speaks over
    it."""
    own = _object(call.context, "context", warnings)
    return merged(stamp.context, own if channel is None else merged(object_of(channel=channel), own))


def _with_captured(context: msgspec.Raw, seen: _Context, stamp: Stamp, channel: str | None) -> msgspec.Raw:
    """The context with the call's own channel, and from a client-side call what the server saw of its sender."""
    ip = user_agent = None
    if stamp.key_kind == "public":
        ip = None if seen.ip else stamp.ip
        user_agent = None if seen.user_agent else stamp.user_agent
    if seen.channel:
        channel = None
    if channel is None and ip is None and user_agent is None:
        return context
    if (
        (channel is None or seen.channel is UNSET)
        and (ip is None or seen.ip is UNSET)
        and (user_agent is None or seen.user_agent is UNSET)
    ):
        return with_opening(_captured(channel, ip, user_agent), context)
    return merged(context, object_of(channel=channel, ip=ip, userAgent=user_agent))


@lru_cache(maxsize=16_384)
def _captured(channel: str | None, ip: str | None, user_agent: str | None) -> bytes:
    """Senders come back: each is written once."""
    return opening_of(channel=channel, ip=ip, userAgent=user_agent)


def _readable_context(context: msgspec.Raw, warnings: list[str]) -> _Context:
    """What can be looked at in a context in which some member is of a wrong type: that one counts as null."""
    readable: dict[str, msgspec.Raw] = {}
    for name, value in members_of(context).items():
        try:
            _decode_context(as_object({name: value}))
            readable[name] = value
        except msgspec.ValidationError:
            warnings.append(f"context_type:{name}")
            readable[name] = _NULL
    return _decode_context(as_object(readable))


def _channel(given: msgspec.Raw, warnings: list[str]) -> str | None:
    if given is _NULL or is_null(given):
        return None
    try:
        channel = _decode_text(given)
    except msgspec.ValidationError:
        warnings.append("context_type:channel")
        return None
    return channel or None


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


def _object(text: msgspec.Raw, name: str, warnings: list[str]) -> msgspec.Raw:
    if text is EMPTY_OBJECT or is_object(text):
        return text
    if not is_null(text):
        warnings.append(f"{name}_not_an_object")
    return EMPTY_OBJECT


def _library(library: _Library) -> str | None:
    if not library.name:
        return None
    return f"{library.name}/{library.version}" if library.version else library.name


def _is_of_rudderstack(library: _Library | None) -> bool:
    return library is not None and "rudder" in (library.name or "").lower()


def _text(value: str | int) -> str | None:
    return None if value == "" else str(value)


_decode_text = msgspec.json.Decoder(str).decode
