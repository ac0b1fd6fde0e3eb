"""JSON objects as text: looked into no further than needed, changed without being decoded whole."""

from collections.abc import Mapping

import msgspec

from topics.raw import EMPTY_OBJECT

_BRACE = ord("{")
_QUOTE = ord('"')

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def is_object(text: msgspec.Raw) -> bool:
    return bytes(text)[0] == _BRACE  # a copy costs less than a view


def object_or_empty(text: msgspec.Raw, name: str, warnings: list[str]) -> msgspec.Raw:
    """The text where it is an object; else an empty one, with a warning unless it is null."""
    if text is EMPTY_OBJECT or is_object(text):
        return text
    if not is_null(text):
        warnings.append(f"{name}_not_an_object")
    return EMPTY_OBJECT


def is_null(text: msgspec.Raw) -> bool:
    return bytes(text) == b"null"


def members_of(text: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The members of an object, themselves not decoded; of several of one name the last."""
    return _members(text)


def as_object(members: Mapping[str, object]) -> msgspec.Raw:
    """A new object of these members."""
    return msgspec.Raw(_encode(members))


def object_of(**members: object) -> msgspec.Raw:
    """A new object of those members that are not None."""
    return msgspec.Raw(_encode({name: value for name, value in members.items() if value is not None}))


def merged(under: msgspec.Raw, over: msgspec.Raw) -> msgspec.Raw:
    """One object with the members of both objects; where both have one, that of `over`."""
    if under is EMPTY_OBJECT:
        return over
    if over is EMPTY_OBJECT:
        return under
    return msgspec.Raw(_encode({**_members(under), **_members(over)}))


def opening_of(**members: object) -> bytes:
    """The beginning of an object that has these members, as far as they are not None, and more to come."""
    return bytes(object_of(**members))[:-1] + b","


def with_opening(opening: bytes, text: msgspec.Raw) -> msgspec.Raw:
    """The object with the members of an opening, of which it may have none yet: spliced in, which costs a quarter of
    `merged`."""
    body = bytes(text)
    if body[1] != _QUOTE and body[1:].lstrip().startswith(b"}"):
        return msgspec.Raw(opening[:-1] + b"}")
    return msgspec.Raw(body.replace(b"{", opening, 1))
