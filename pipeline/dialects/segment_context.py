"""The context of a call in the Segment family's format: what is looked at in it, and what belongs into it."""

from functools import lru_cache
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from pipeline.json_text import (
    as_object,
    is_null,
    members_of,
    merged,
    object_of,
    object_or_empty,
    opening_of,
    with_opening,
)
from topics.raw import EMPTY_OBJECT, Stamp

# RudderStack's browser client says "web", its servers "sources" or "http" for what they fetched themselves.
CHANNELS: Final = frozenset({"browser", "server", "mobile", "web", "sources", "http"})
NULL: Final = msgspec.Raw(b"null")


class Library(msgspec.Struct, gc=False):
    name: str | None = None
    version: str | None = None


class Context(msgspec.Struct, rename="camel", gc=False):
    """What is looked at in a context. UNSET is what the client did not say at all."""

    library: Library | None = None
    ip: str | UnsetType | None = UNSET
    user_agent: str | UnsetType | None = UNSET
    channel: str | UnsetType | None = UNSET
    active: bool | None = None
    session_id: str | int | None = None
    traits: msgspec.Raw = EMPTY_OBJECT


_decode_context = msgspec.json.Decoder(Context).decode
_decode_text = msgspec.json.Decoder(str).decode


def context_of(
    context: msgspec.Raw, channel_of_call: msgspec.Raw, stamp: Stamp, warnings: list[str]
) -> tuple[msgspec.Raw, Context]:
    """The event's context with what belongs into it, and what is looked at in it: of a call's own context, and of the
    channel that it names beside that."""
    channel = None if channel_of_call is NULL else _channel(channel_of_call, warnings)
    if stamp.context is not EMPTY_OBJECT:
        context = _over_batch(context, stamp, channel, warnings)
    try:
        seen = _decode_context(context)
    except msgspec.ValidationError:
        context = object_or_empty(context, "context", warnings)
        seen = _readable_context(context, warnings)
    said = seen.channel or channel
    if said and said not in CHANNELS:
        warnings.append("channel_unknown")
    return _with_captured(context, seen, stamp, channel), seen


def _over_batch(context: msgspec.Raw, stamp: Stamp, channel: str | None, warnings: list[str]) -> msgspec.Raw:
    """The call's own context over its batch's. The call's own channel is said by the call, and no batch speaks over
    it."""
    own = object_or_empty(context, "context", warnings)
    return merged(stamp.context, own if channel is None else merged(object_of(channel=channel), own))


def _with_captured(context: msgspec.Raw, seen: Context, stamp: Stamp, channel: str | None) -> msgspec.Raw:
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
        return with_opening(captured(channel, ip, user_agent), context)
    return merged(context, object_of(channel=channel, ip=ip, userAgent=user_agent))


@lru_cache(maxsize=16_384)
def captured(channel: str | None, ip: str | None, user_agent: str | None) -> bytes:
    """Senders come back: each is written once."""
    return opening_of(channel=channel, ip=ip, userAgent=user_agent)


def _readable_context(context: msgspec.Raw, warnings: list[str]) -> Context:
    """What can be looked at in a context in which some member is of a wrong type: that one counts as null."""
    readable: dict[str, msgspec.Raw] = {}
    for name, value in members_of(context).items():
        try:
            _decode_context(as_object({name: value}))
            readable[name] = value
        except msgspec.ValidationError:
            warnings.append(f"context_type:{name}")
            readable[name] = NULL
    return _decode_context(as_object(readable))


def _channel(given: msgspec.Raw, warnings: list[str]) -> str | None:
    if given is NULL or is_null(given):
        return None
    try:
        channel = _decode_text(given)
    except msgspec.ValidationError:
        warnings.append("context_type:channel")
        return None
    return channel or None
