"""Which dialect a request is in, on the paths that Segment's and Millimetric's clients share.

The credentials say it: Basic, or a `writeKey` in the body, is the Segment family; Bearer is Millimetric. Segment's
clients may send Bearer too, and some send nothing: then the spelling of the members decides, camelCase or snake_case.
A body is looked into only where the Authorization header is not Basic.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal

import msgspec

from ingress.contract import Route, Routes
from pipeline.surrogates import mended

Casing = Literal["camel", "snake"]

_CAMEL: Final = frozenset(
    {"userId", "anonymousId", "messageId", "groupId", "previousId", "sentAt", "originalTimestamp"}
)
_SNAKE: Final = frozenset({"user_id", "anonymous_id", "event_id", "session_id"})

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def with_shared_paths(segment: Routes, millimetric: Routes) -> Routes:
    """The routes of both; where both have a path, each request goes to the dialect that it is in."""
    shared = {at: _shared(segment[at], millimetric[at]) for at in segment.keys() & millimetric.keys()}
    return {**segment, **millimetric, **shared}


def is_millimetric(headers: Mapping[bytes, bytes], body: bytes) -> bool:
    """Whether it is Millimetric's, else it is of the Segment family. An empty body is one that could not be had."""
    authorization = headers.get(b"authorization")
    if authorization is None:
        return casing(body) == "snake"
    return authorization[:6].lower() == b"bearer" and casing(body) != "camel"


def casing(body: bytes) -> Casing | None:
    """How the body spells its members; None where nothing tells. `events` and `batch` are each dialect's own word."""
    try:
        members = _members(body)
        if "writeKey" in members:
            return "camel"
        if "batch" in members and "events" not in members:
            return _casing_of_items(_items(members["batch"])) or _spelling(members)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        readable = mended(body)
        return casing(readable) if readable else None
    return "snake" if "events" in members else _spelling(members)


def _casing_of_items(items: list[dict[str, msgspec.Raw]]) -> Casing | None:
    """The first that tells decides. Segment's items have a type each, and an empty `batch` is named as Segment does."""
    for item in items:
        if told := _spelling(item):
            return told
    return "camel" if not items or any("type" in item for item in items) else None


def _spelling(members: Mapping[str, msgspec.Raw]) -> Casing | None:
    if not _SNAKE.isdisjoint(members):
        return "snake"
    return None if _CAMEL.isdisjoint(members) else "camel"


def _shared(segment: Route, millimetric: Route) -> Route:
    def choose(headers: Mapping[bytes, bytes], body: bytes) -> Route:
        return millimetric if is_millimetric(headers, body) else segment

    return replace(segment, choose=choose)
