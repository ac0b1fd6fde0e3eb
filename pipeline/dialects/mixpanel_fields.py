"""What all of Mixpanel's records have in common: ids, `$insert_id`, time, and how it is said that one of them is wrong.

The rules are those of Mixpanel's public API reference (Import Events, Track Events) and of its pages on ID Merge.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import Raw

from topics.rejected import Reason
from topics.stitched import EventType

Endpoint = Literal["track", "import", "engage", "groups"]
Id = str | int | None
Ids = tuple[str | None, str | None]
"""An anonymous id and a user id."""

MAX_AHEAD_MS: Final = 3_600_000
EARLIEST_MS: Final = 31_536_000_000  # 1971

# A number below counts seconds: it is the year 2286 as such, and 1970 as milliseconds, so no number is both.
_MILLISECONDS_FROM: Final = 10_000_000_000
_DEVICE_PREFIX: Final = "$device:"
_UUID_LENGTH: Final = 36
_UUID_V4: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)
_INSERT_ID: Final = re.compile(
    r"(?!(?:[0-]*|-1|anon|anonymous|nil|none|null|na|undefined|unknown|true|false)\Z)[a-z0-9-]{1,36}", re.ASCII | re.I
)
_AT: Final = re.compile(r" - at `\$\.?(.*)`$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Invalid:
    """Why a record is none: the field by its path, "" for the record itself, and what is asked of it. Never a value."""

    reason: Reason
    field: str
    message: str


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record whose rules hold. `time_ms` is Unix milliseconds; `given` is the object that tells everything else: an
    event's properties, or the whole of an update; `previous_id` what an alias ties to its user."""

    type: EventType
    name: str
    anonymous_id: str | None
    user_id: str | None
    insert_id: str | None
    time_ms: int | None
    given: Raw
    previous_id: str | None = None


Read = TypeVar("Read")


def decoded(decode: Callable[[Raw | bytes], Read], text: Raw | bytes, path: str) -> Read | Invalid:
    """The text as the decoder's type, or which of its fields, under this path, has another."""
    try:
        return decode(text)
    except msgspec.ValidationError as error:
        said = str(error)
        inside = found[1] if (found := _AT.search(said)) else ""
        reason = Reason.INVALID_FIELD if path or inside else Reason.NOT_AN_OBJECT
        return Invalid(reason, ".".join(part for part in (path, inside) if part), _AT.sub("", said))


def missing(field: str, message: str = "is required") -> Invalid:
    return Invalid(Reason.MISSING_FIELD, field, message)


def invalid(field: str, message: str) -> Invalid:
    return Invalid(Reason.INVALID_FIELD, field, message)


def text_of(value: Id) -> str | None:
    """An id as text; None where there is none."""
    return None if value is None or value == "" else str(value)


def ids_of(distinct: Id, device: Id, user: Id) -> Ids:
    """Who a record is of, by its `distinct_id`, `$device_id` and `$user_id` (simplified ID merge)."""
    distinct_id, device_id, user_id = text_of(distinct), text_of(device), text_of(user)
    anonymous_id = device_id and without_prefix(device_id)
    if distinct_id is None or distinct_id == user_id:
        return anonymous_id, user_id
    if counts_as_anonymous(distinct_id) or distinct_id == device_id:
        return anonymous_id or without_prefix(distinct_id), user_id
    return anonymous_id, user_id or distinct_id


def counts_as_anonymous(distinct_id: str) -> bool:
    """Whether a `distinct_id` names a device and no user. All of the dialect asks here."""
    return distinct_id.startswith(_DEVICE_PREFIX) or is_uuid_v4(distinct_id)


def is_uuid_v4(text: str) -> bool:
    return len(text) == _UUID_LENGTH and _UUID_V4.fullmatch(text) is not None


def without_prefix(distinct_id: str) -> str:
    """A device's `distinct_id` as its `$device_id` is: clients put `$device:` before the one and not the other."""
    return distinct_id.removeprefix(_DEVICE_PREFIX) or distinct_id


def insert_id_of(value: Id, field: str) -> str | Invalid | None:
    """The messageId; None where the client sent none. A placeholder is refused: it would make one event of many."""
    insert_id = text_of(value)
    if insert_id is None or _INSERT_ID.fullmatch(insert_id):
        return insert_id
    return invalid(field, "must be 1 to 36 letters, digits or '-', and no placeholder")


def time_of(value: int | float | None, received_at_ms: int, field: str) -> int | Invalid | None:
    """Unix milliseconds, of seconds or milliseconds with or without a fraction; None where the client sent none."""
    if value is None:
        return None
    milliseconds = value * 1000 if value < _MILLISECONDS_FROM else value
    if EARLIEST_MS <= milliseconds <= received_at_ms + MAX_AHEAD_MS:
        return int(milliseconds + 0.5)
    return invalid(field, "must be seconds or milliseconds since 1970, not before 1971 nor over an hour ahead")
