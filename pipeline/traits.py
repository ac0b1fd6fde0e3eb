"""Reserved traits of the Segment family: one spelling of each, their types looked at, what is missing filled in.

Arrives: traits as JSON objects, as clients wrote them. Leaves: one JSON object, the very text that came where nothing
had to change, and warnings. The names and types are those of Segment's public Spec (Identify, Group); what is not
reserved is left alone. A reserved trait of another type is kept and warned of.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec

from pipeline.json_text import as_object, is_object, members_of
from topics.raw import EMPTY_OBJECT

_Members = dict[str, msgspec.Raw]

# What a value of each type may begin with. Null is of every type: it takes a trait back.
_STRING: Final = b'"n'
_NUMBER: Final = b"-0123456789n"
_OBJECT: Final = b"{n"
_STRING_OR_NUMBER: Final = b'"-0123456789n'

_LONGEST_EMAIL: Final = 254  # RFC 5321, section 4.5.3.1.3
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")


@dataclass(frozen=True, slots=True)
class _Shape:
    """The reserved members of an object: what each begins with, the other spelling of some, which are instants, and
    which are objects with reserved members of their own."""

    types: Mapping[str, bytes]
    spellings: Mapping[str, str] = field(default_factory=dict)
    dates: frozenset[str] = frozenset()
    objects: Mapping[str, "_Shape"] = field(default_factory=dict)


_ADDRESS: Final = _Shape({}, {"postal_code": "postalCode"})
_COMPANY: Final = _Shape(
    {
        "name": _STRING,
        "id": _STRING_OR_NUMBER,
        "industry": _STRING,
        "employee_count": _NUMBER,
        "plan": _STRING,
    },
    {"employeeCount": "employee_count"},  # the Spec itself writes this one in snake_case
)
_PERSON: Final = _Shape(
    {
        "address": _OBJECT,
        "age": _NUMBER,
        "avatar": _STRING,
        "birthday": _STRING_OR_NUMBER,
        "company": _OBJECT,
        "createdAt": _STRING_OR_NUMBER,
        "description": _STRING,
        "email": _STRING,
        "firstName": _STRING,
        "gender": _STRING,
        "id": _STRING,
        "lastName": _STRING,
        "name": _STRING,
        "phone": _STRING,
        "title": _STRING,
        "username": _STRING,
        "website": _STRING,
    },
    {"created_at": "createdAt", "first_name": "firstName", "last_name": "lastName"},
    frozenset({"birthday", "createdAt"}),
    {"address": _ADDRESS, "company": _COMPANY},
)
_GROUP: Final = _Shape(
    {
        "address": _OBJECT,
        "avatar": _STRING,
        "createdAt": _STRING_OR_NUMBER,
        "description": _STRING,
        "email": _STRING,
        "employees": _STRING_OR_NUMBER,
        "id": _STRING_OR_NUMBER,
        "industry": _STRING,
        "name": _STRING,
        "phone": _STRING,
        "plan": _STRING,
        "website": _STRING,
    },
    {"created_at": "createdAt"},
    frozenset({"createdAt"}),
    {"address": _ADDRESS},
)


# Of an identify: what the values of reserved traits begin with where they stay as they are; nothing, where one has to
# look further. What is not here stays.
PLAIN_TRAITS: Final[Mapping[str, bytes]] = {
    **_PERSON.types,
    **dict.fromkeys([*_PERSON.spellings, *_PERSON.dates, *_PERSON.objects, "firstName", "lastName"], b""),
}


def person_traits(given: msgspec.Raw, under: msgspec.Raw, user_id: str | None, warnings: list[str]) -> msgspec.Raw:
    """The traits of an identify: `given` over `under`. A user id that is an e-mail address becomes the trait `email`,
    and first and last name the trait `name`, where there is none."""
    sent = members_of(given)
    members = _spelled(sent, _PERSON, "", warnings)
    if under is not EMPTY_OBJECT:
        members = {**_spelled(members_of(under), _PERSON, "", warnings), **members}
    members = _checked(members, _PERSON, "", warnings)
    if "firstName" in members and "lastName" in members and _is_empty(members.get("name")):
        members = {**members, **_full_name(members)}
    if user_id is not None and is_email(user_id) and _is_empty(members.get("email")):
        members = {**members, "email": _json(user_id)}
    return given if members is sent else as_object(members)


def group_traits(given: msgspec.Raw, warnings: list[str]) -> msgspec.Raw:
    """The traits of a group call."""
    if given is EMPTY_OBJECT:
        return given
    sent = members_of(given)
    members = _checked(_spelled(sent, _GROUP, "", warnings), _GROUP, "", warnings)
    return given if members is sent else as_object(members)


def email_of(traits: msgspec.Raw) -> str | None:
    """The trait `email`, where it looks like an e-mail address."""
    email = _text(members_of(traits).get("email"))
    return email if email is not None and is_email(email) else None


def is_email(text: str) -> bool:
    return "@" in text and len(text) <= _LONGEST_EMAIL and _EMAIL.fullmatch(text) is not None


def _spelled(members: _Members, shape: _Shape, path: str, warnings: list[str]) -> _Members:
    """The members under the store's names; the same object where they have them. Of both spellings the store's own
    counts."""
    if shape.spellings.keys().isdisjoint(members):
        return members
    spelled: _Members = {}
    for name, value in members.items():
        own = shape.spellings.get(name, name)
        if own != name and own in members:
            warnings.append(f"trait_twice:{path}{own}")
        else:
            spelled[own] = value
    return spelled


def _checked(members: _Members, shape: _Shape, path: str, warnings: list[str]) -> _Members:
    """The members with those inside them spelled; the same object where none had to be. Warns of wrong types."""
    changed: _Members = {}
    for name, value in members.items():
        begins_with = shape.types.get(name)
        if begins_with is None:
            continue
        if bytes(value)[0] not in begins_with or (name in shape.dates and not _is_date(value)):
            warnings.append(f"trait_type:{path}{name}")
        elif (inner := shape.objects.get(name)) is not None and is_object(value):
            inside = members_of(value)
            spelled = _spelled(inside, inner, f"{name}.", warnings)
            if inner.types:
                _checked(spelled, inner, f"{name}.", warnings)
            if spelled is not inside:
                changed[name] = as_object(spelled)
    return {**members, **changed} if changed else members


def _full_name(members: _Members) -> _Members:
    first, last = _text(members["firstName"]), _text(members["lastName"])
    return {"name": _json(f"{first} {last}")} if first and last else {}


def _is_empty(value: msgspec.Raw | None) -> bool:
    return value is None or bytes(value) in (b"null", b'""')


def _text(value: msgspec.Raw | None) -> str | None:
    """The text without blanks around it; None for what is no text."""
    if value is None or bytes(value)[0] != _STRING[0]:
        return None
    text: str = _decode_text(value)
    return text.strip()


def _is_date(value: msgspec.Raw) -> bool:
    """ISO 8601, or a number: Unix seconds or milliseconds, which Customer.io's clients send."""
    text = _text(value)
    if text is None:
        return True
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _json(text: str) -> msgspec.Raw:
    return msgspec.Raw(_encode(text))


_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode
