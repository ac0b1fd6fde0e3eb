"""Mixpanel's rules for an update of a profile, of a user (`/engage`) or of a group (`/groups`).

An update has one operation, a member whose name begins with `$`: `$set`, `$set_once` and `$unset` tell traits, and any
other is an event of that name. The rules are those of Mixpanel's public API reference (User Profiles, Group Profiles).
"""

from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from pipeline.dialects.mixpanel_fields import (
    Endpoint,
    Id,
    Invalid,
    Record,
    decoded,
    ids_of,
    insert_id_of,
    missing,
    text_of,
    time_of,
)
from pipeline.json_text import members_of

# Members that tell of the update and are no operation.
_ABOUT: Final = frozenset(
    {"$token", "$distinct_id", "$device_id", "$user_id", "$group_key", "$group_id", "$insert_id", "$time", "$ip"}
    | {"$ignore_time", "$ignore_alias", "$had_persisted_distinct_id", "$anon_distinct_id", "$mp_metadata"}
)


class Traits(msgspec.Struct, gc=False):
    """The operations that tell traits."""

    set: dict[str, Raw] | UnsetType = msgspec.field(name="$set", default=UNSET)
    set_once: dict[str, Raw] | UnsetType = msgspec.field(name="$set_once", default=UNSET)
    unset: list[str] | str | UnsetType = msgspec.field(name="$unset", default=UNSET)


class _Update(Traits, gc=False):
    distinct_id: Id = msgspec.field(name="$distinct_id", default=None)
    insert_id: Id = msgspec.field(name="$insert_id", default=None)
    time: int | float | None = msgspec.field(name="$time", default=None)
    device_id: Id = msgspec.field(name="$device_id", default=None)
    user_id: Id = msgspec.field(name="$user_id", default=None)
    group_key: Id = msgspec.field(name="$group_key", default=None)
    group_id: Id = msgspec.field(name="$group_id", default=None)


_decode_update = msgspec.json.Decoder(_Update).decode
decode_traits = msgspec.json.Decoder(Traits).decode


def read_update(value: bytes, endpoint: Endpoint, received_at_ms: int) -> Record | Invalid:
    """One update, if every rule holds. Raises msgspec.DecodeError and RecursionError where it is no JSON."""
    seen = decoded(_decode_update, value, "")
    if isinstance(seen, Invalid):
        return seen
    insert_id = insert_id_of(seen.insert_id, "$insert_id")
    if isinstance(insert_id, Invalid):
        return insert_id
    time_ms = time_of(seen.time, received_at_ms, "$time")
    if isinstance(time_ms, Invalid):
        return time_ms
    anonymous_id, user_id = ids_of(seen.distinct_id, seen.device_id, seen.user_id)
    if endpoint == "groups" and (text_of(seen.group_key) is None or text_of(seen.group_id) is None):
        return missing("$group_id" if text_of(seen.group_id) is None else "$group_key")
    if endpoint == "engage" and anonymous_id is None and user_id is None:
        return missing("$distinct_id")
    given = Raw(value)
    if not (seen.set is UNSET and seen.set_once is UNSET and seen.unset is UNSET):
        if endpoint == "groups":
            return Record("group", "$group", anonymous_id, user_id, insert_id, time_ms, given)
        return Record("identify", "$identify", anonymous_id, user_id, insert_id, time_ms, given)
    operation = next((name for name in members_of(given) if name.startswith("$") and name not in _ABOUT), None)
    if operation is None:
        return missing("$set", "or another operation is required")
    return Record("track", operation, anonymous_id, user_id, insert_id, time_ms, given)
