"""Millimetric's wire format: the rules of its calls, and one call to one event.

The rules are those of Millimetric's public API reference (track, batch, identify, sessions). They stand here once: the
ingress answers by them at once, and the pipeline reads what was published by the same.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw

from pipeline import reserved
from pipeline.instants import corrected, read_instant
from pipeline.json_text import is_null, is_object, object_of
from pipeline.outcome import Rejected
from pipeline.session import session_of
from topics.raw import EMPTY_OBJECT, Stamp
from topics.rejected import Reason
from topics.stitched import StitchedEvent

MAX_EVENT_ID: Final = 128
MAX_PROPERTIES_BYTES: Final = 8 * 1024
MAX_BATCH_EVENTS: Final = 1000
IDENTIFY: Final = "identify"
IDENTIFY_EVENT: Final = "$identify"
REQUIRED: Final = "Required"

_Address = Annotated[str, Meta(max_length=2048)]


class Call(msgspec.Struct, gc=False):
    """A call whose rules hold. An id that is "" was not given; null is as good as absent."""

    event: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    event_id: Annotated[str, Meta(min_length=1, max_length=MAX_EVENT_ID)] | None = None
    timestamp: str | None = None
    anonymous_id: Annotated[str, Meta(max_length=128)] | None = None
    user_id: Annotated[str, Meta(max_length=256)] | None = None
    session_id: Annotated[str, Meta(max_length=128)] | None = None
    url: _Address | None = None
    path: _Address | None = None
    referrer: _Address | None = None
    properties: Raw = EMPTY_OBJECT
    traits: Raw = EMPTY_OBJECT


@dataclass(frozen=True, slots=True)
class Invalid:
    """What is wrong, by field, and under "" what is wrong with the whole. Never a value."""

    problems: dict[str, str]


_decode = msgspec.json.Decoder(Call).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_anything = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_NO_STAMP: Final = Stamp("", "", 0, call="track")
_FIELDS: Final = {field.name: msgspec.json.Decoder(field.type).decode for field in msgspec.structs.fields(Call)}


def read(value: bytes, call: str) -> Call | Invalid:
    """One call of an endpoint ("identify" or "track"), if every rule holds.

    Raises msgspec.DecodeError (its ValidationError where it is JSON, but no object) and RecursionError.
    """
    try:
        seen = _decode(value)
    except msgspec.ValidationError as error:
        return _wrongly_typed(value, call, error)
    problems = _problems(seen, call)
    return Invalid(problems) if problems else seen


def read_call(value: bytes, stamp: Stamp) -> StitchedEvent | Rejected:
    """One call as its client wrote it, and what the ingress stamped, as an event; nobody is attributed yet.

    An identify is nothing but an event named `$identify` that carries both ids, whichever endpoint it came by.
    Raises as `read` does.
    """
    call = read(value, stamp.call)
    if isinstance(call, Invalid):
        return _rejected(call)
    return _event(call, value, stamp)


def _event(call: Call, value: bytes, stamp: Stamp) -> StitchedEvent:
    user_id = call.user_id or None
    anonymous_id = call.anonymous_id or stamp.anonymous_id
    by_name = call.event == IDENTIFY_EVENT and bool(call.anonymous_id and user_id)
    is_identify = stamp.call == IDENTIFY or by_name
    given = _object(call.traits if stamp.call == IDENTIFY else call.properties)
    original = read_instant(call.timestamp) if call.timestamp else None
    timestamp = corrected(stamp.received_at_ms, None, original)
    return StitchedEvent(
        project_id=stamp.project_id,
        message_id=stamp.message_id,
        type="identify" if is_identify else "track",
        event_name=IDENTIFY_EVENT if is_identify else call.event or "",
        anonymous_id=anonymous_id,
        user_id=user_id,
        stitched_user_id=user_id,
        session_id=call.session_id or session_of(anonymous_id, timestamp),
        timestamp=timestamp / 1000,
        original_timestamp=None if original is None else original / 1000,
        sent_at=None,
        received_at=stamp.received_at_ms / 1000,
        properties=given,
        traits=given if is_identify else EMPTY_OBJECT,
        context=_context(call),
        raw=Raw(value),
    )


def _required(call: str) -> tuple[str, ...]:
    return ("anonymous_id", "user_id") if call == IDENTIFY else ("event",)


def _problems(seen: Call, call: str) -> dict[str, str]:
    problems = {name: REQUIRED for name in _required(call) if not getattr(seen, name)}
    if seen.timestamp and read_instant(seen.timestamp) is None:
        problems["timestamp"] = "Expected an instant of ISO 8601, from 1970 on"
    name, given = ("traits", seen.traits) if call == IDENTIFY else ("properties", seen.properties)
    if not (given is EMPTY_OBJECT or is_object(given) or is_null(given)):
        problems[name] = "Expected `object`"
    elif call != IDENTIFY and len(memoryview(given)) > MAX_PROPERTIES_BYTES and _size(given) > MAX_PROPERTIES_BYTES:
        problems[name] = f"Expected at most {MAX_PROPERTIES_BYTES} bytes of JSON"
    if seen.event in reserved.NAMES and call != IDENTIFY and not problems:
        checked = reserved.checked(_event(seen, b"{}", _NO_STAMP), may_tie_users=True)
        if isinstance(checked, Rejected):
            problems[""] = checked.detail
    return problems


def _size(text: Raw) -> int:
    """Its bytes without the client's spaces and escapes, which are not counted."""
    return len(_encode(_anything(text)))


def _wrongly_typed(value: bytes, call: str, error: msgspec.ValidationError) -> Invalid:
    """All that is wrong with its fields, of which the decoder names but the first."""
    message, at, path = str(error).rpartition(" - at `$.")
    if not at:
        raise error
    problems = {path.rstrip("`"): message}
    members = _members(value)
    for name, decode in _FIELDS.items():
        try:
            decode(members.get(name, b"null"))
        except msgspec.ValidationError as wrong:
            problems[name] = str(wrong)
    problems.update({name: REQUIRED for name in _required(call) if bytes(members.get(name, b"null")) == b"null"})
    return Invalid(problems)


def _rejected(invalid: Invalid) -> Rejected:
    is_missing = REQUIRED in invalid.problems.values()
    detail = "; ".join(f"{name}: {problem}" for name, problem in invalid.problems.items())
    return Rejected("validate", Reason.MISSING_FIELD if is_missing else Reason.INVALID_FIELD, detail)


def _object(text: Raw) -> Raw:
    return EMPTY_OBJECT if is_null(text) else text


def _context(call: Call) -> Raw:
    if not (call.url or call.path or call.referrer):
        return EMPTY_OBJECT
    page = {"url": call.url, "path": call.path, "referrer": call.referrer}
    return object_of(page={name: value for name, value in page.items() if value})
