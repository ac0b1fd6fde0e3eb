"""Mixpanel's rules for an event: `{"event": …, "properties": {…}}`, as `/track` and `/import` take it.

The rules of `$identify`, `$create_alias` and `$merge` are those of Mixpanel's public API reference (Create Identity,
Create Alias, Merge Identities).
"""

from typing import Final

import msgspec
from msgspec import Raw

from pipeline.dialects.mixpanel_fields import (
    Endpoint,
    Id,
    Ids,
    Invalid,
    Record,
    counts_as_anonymous,
    decoded,
    ids_of,
    insert_id_of,
    invalid,
    is_uuid_v4,
    missing,
    text_of,
    time_of,
    without_prefix,
)
from pipeline.json_text import is_null, is_object
from pipeline.reserved import ALIAS, OF_TWO_IDS, RESET, UNALIAS
from topics.control import KeyKind
from topics.rejected import Reason
from topics.stitched import EventType

IDENTIFY: Final = "$identify"
CREATE_ALIAS: Final = "$create_alias"
MERGE: Final = "$merge"

_NULL: Final = Raw(b"null")


class _Event(msgspec.Struct, gc=False):
    event: str | None = None
    properties: Raw = _NULL


class _Properties(msgspec.Struct, gc=False):
    distinct_id: Id = None
    insert_id: Id = msgspec.field(name="$insert_id", default=None)
    time: int | float | None = None
    device_id: Id = msgspec.field(name="$device_id", default=None)
    user_id: Id = msgspec.field(name="$user_id", default=None)


class _Identify(msgspec.Struct, gc=False):
    identified_id: Id = msgspec.field(name="$identified_id", default=None)
    anon_id: Id = msgspec.field(name="$anon_id", default=None)
    anon_distinct_id: Id = msgspec.field(name="$anon_distinct_id", default=None)


class _Alias(msgspec.Struct, gc=False):
    alias: Id = None


class _Merge(msgspec.Struct, gc=False):
    distinct_ids: list[str | int] | None = msgspec.field(name="$distinct_ids", default=None)


class _Named(msgspec.Struct, rename="camel", gc=False):
    anonymous_id: Id = None
    user_id: Id = None
    previous_id: Id = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_properties = msgspec.json.Decoder(_Properties).decode
_decode_identify = msgspec.json.Decoder(_Identify).decode
_decode_alias = msgspec.json.Decoder(_Alias).decode
_decode_merge = msgspec.json.Decoder(_Merge).decode
_decode_named = msgspec.json.Decoder(_Named).decode


class _Meaning(msgspec.Struct, frozen=True, gc=False):
    """What the event's own name makes of it."""

    type: EventType
    name: str
    ids: Ids
    previous_id: str | None = None


def read_event(value: bytes, endpoint: Endpoint, key_kind: KeyKind, received_at_ms: int) -> Record | Invalid:
    """One event, if every rule holds. Raises msgspec.DecodeError and RecursionError where it is no JSON."""
    event = decoded(_decode_event, value, "")
    if isinstance(event, Invalid):
        return event
    if not event.event:
        return missing("event")
    given = event.properties
    if not is_object(given):
        return missing("properties") if is_null(given) else invalid("properties", "must be an object")
    seen = decoded(_decode_properties, given, "properties")
    if isinstance(seen, Invalid):
        return seen
    insert_id = insert_id_of(seen.insert_id, "properties.$insert_id")
    if isinstance(insert_id, Invalid):
        return insert_id
    time_ms = time_of(seen.time, received_at_ms, "properties.time")
    if isinstance(time_ms, Invalid):
        return time_ms
    meaning = _meaning(event.event, given, seen, may_merge=endpoint == "import" and key_kind == "secret")
    if isinstance(meaning, Invalid):
        return meaning
    anonymous_id, user_id = meaning.ids
    return Record(meaning.type, meaning.name, anonymous_id, user_id, insert_id, time_ms, given, meaning.previous_id)


def _meaning(name: str, given: Raw, seen: _Properties, may_merge: bool) -> _Meaning | Invalid:
    ids = ids_of(seen.distinct_id, seen.device_id, seen.user_id)
    if not name.startswith("$"):
        return _Meaning("track", name, ids)
    if name == IDENTIFY:
        return _identify(given, ids)
    if name == CREATE_ALIAS:
        return _alias(given, text_of(seen.distinct_id), ids[0])
    if name == MERGE and not may_merge:
        return Invalid(Reason.NEEDS_SECRET_KEY, "event", "$merge is taken only by /import with a secret key")
    if name in OF_TWO_IDS:
        return _two_ids(name, given, ids)
    if name in (RESET, UNALIAS):
        return _named(name, given, ids)
    return _Meaning("track", name, ids)


def _identify(given: Raw, ids: Ids) -> _Meaning | Invalid:
    """Of the original ID merge where it has `$identified_id` or `$anon_id`, else of the simplified one."""
    seen = decoded(_decode_identify, given, "properties")
    if isinstance(seen, Invalid):
        return seen
    if seen.identified_id is None and seen.anon_id is None:
        return _simplified(seen, ids)
    identified_id, anon_id = text_of(seen.identified_id), text_of(seen.anon_id)
    if identified_id is None:
        return missing("properties.$identified_id")
    if anon_id is None:
        return missing("properties.$anon_id")
    device_id = without_prefix(anon_id)
    if not is_uuid_v4(device_id):
        return invalid("properties.$anon_id", "must be a UUID of version 4")
    return _Meaning("identify", IDENTIFY, (device_id, identified_id))


def _simplified(seen: _Identify, ids: Ids) -> _Meaning | Invalid:
    anonymous_id, user_id = ids
    before = text_of(seen.anon_distinct_id)
    if anonymous_id is None and before is not None and counts_as_anonymous(before):
        anonymous_id = without_prefix(before)
    if user_id is None:
        return missing("properties.$identified_id", "is required with $anon_id, or $user_id with $device_id")
    if anonymous_id is None:
        return missing("properties.$anon_id", "is required with $identified_id, or $device_id with $user_id")
    return _Meaning("identify", IDENTIFY, (anonymous_id, user_id))


def _alias(given: Raw, distinct_id: str | None, device_id: str | None) -> _Meaning | Invalid:
    """To Mixpanel an alias is one more name of its `distinct_id`, of which there may be many, while an alias has but
    one `distinct_id`: so of two users the alias is the previous one. Of a device and a user the device is."""
    seen = decoded(_decode_alias, given, "properties")
    if isinstance(seen, Invalid):
        return seen
    alias = text_of(seen.alias)
    if distinct_id is None:
        return missing("properties.distinct_id")
    if alias is None:
        return missing("properties.alias")
    if counts_as_anonymous(distinct_id):
        previous_id = without_prefix(distinct_id)
        return _Meaning("alias", ALIAS, (previous_id, alias), previous_id)
    if counts_as_anonymous(alias):
        previous_id = without_prefix(alias)
        return _Meaning("alias", ALIAS, (previous_id, distinct_id), previous_id)
    return _Meaning("alias", ALIAS, (device_id, distinct_id), alias)


def _two_ids(name: str, given: Raw, ids: Ids) -> _Meaning | Invalid:
    seen = decoded(_decode_merge, given, "properties")
    if isinstance(seen, Invalid):
        return seen
    if seen.distinct_ids is None:
        return missing("properties.$distinct_ids")
    if len(seen.distinct_ids) != 2 or "" in seen.distinct_ids:
        return invalid("properties.$distinct_ids", "must be two ids")
    return _Meaning("track", name, ids)


def _named(name: str, given: Raw, ids: Ids) -> _Meaning | Invalid:
    """`$reset` and `$unalias` may name their ids as the other dialects do."""
    seen = decoded(_decode_named, given, "properties")
    if isinstance(seen, Invalid):
        return seen
    anonymous_id, user_id = text_of(seen.anonymous_id) or ids[0], text_of(seen.user_id) or ids[1]
    if name == RESET and anonymous_id is None:
        return missing("properties.$device_id")
    if name == UNALIAS and user_id is None:
        return missing("properties.userId")
    if name == UNALIAS and text_of(seen.previous_id) is None:
        return missing("properties.previousId")
    return _Meaning("track", name, (anonymous_id, user_id))
