"""Events that tie or part two users, and resets: the alias call, and in any dialect a `track` with a reserved name.

`$reset` ends what is known of its anonymous id; `$merge` and `$unmerge` {`$distinct_ids`: [x, y]} tie and part two
users, as an alias and `$unalias` {userId, previousId} do. They need no id beside those. Two users are tied by a secret
key's word alone, unless the project allows more: an event from a public key is kept, with a warning.
"""

from typing import Final

import msgspec

from pipeline.outcome import Rejected
from topics.rejected import Reason
from topics.stitched import StitchedEvent

RESET: Final = "$reset"
ALIAS: Final = "$alias"
UNALIAS: Final = "$unalias"
MERGE: Final = "$merge"
UNMERGE: Final = "$unmerge"
OF_TWO_IDS: Final = frozenset({MERGE, UNMERGE})
NAMES: Final = frozenset({RESET, ALIAS, UNALIAS, *OF_TWO_IDS})

NEEDS_SECRET_KEY: Final = "edge_needs_secret_key"


class Ids(msgspec.Struct, rename="camel", gc=False):
    """What the properties of these events name, as their clients wrote it."""

    user_id: str | int | None = None
    previous_id: str | int | None = None
    distinct_ids: list[str | int] | None = msgspec.field(default=None, name="$distinct_ids")


_decode_ids = msgspec.json.Decoder(Ids).decode


def ids_of(event: StitchedEvent) -> Ids:
    """The ids in the properties of an event that was checked."""
    return _decode_ids(event.properties)


def checked(event: StitchedEvent, *, may_tie_users: bool) -> StitchedEvent | Rejected:
    """An event of one of these names with the ids that it needs, or why it is refused."""
    try:
        ids = _decode_ids(event.properties)
    except msgspec.ValidationError as error:
        return Rejected("validate", Reason.INVALID_FIELD, f"properties of {event.event_name}: {error}")
    if event.event_name == RESET:
        return event if event.anonymous_id else _missing(event, "anonymousId")
    if event.event_name in OF_TWO_IDS and not _are_two(ids.distinct_ids):
        return _missing(event, "two ids in its property $distinct_ids")
    if event.event_name == UNALIAS:
        event = _with_user(event, ids.user_id)
        if not (event.user_id and ids.previous_id):
            return _missing(event, "userId and previousId")
    if may_tie_users or _is_of_own_device(event, ids):
        return event
    return msgspec.structs.replace(event, warnings=(*event.warnings, NEEDS_SECRET_KEY))


def _with_user(event: StitchedEvent, user_id: str | int | None) -> StitchedEvent:
    """The event with a user that stands in its properties, where clients must write it whose `track` takes no other."""
    if event.user_id or not user_id:
        return event
    return msgspec.structs.replace(event, user_id=str(user_id), stitched_user_id=str(user_id))


def _is_of_own_device(event: StitchedEvent, ids: Ids) -> bool:
    """Whether an alias says no more than who uses the message's own anonymous id: that ties no two users."""
    return event.event_name == ALIAS and ids.previous_id is not None and str(ids.previous_id) == event.anonymous_id


def _are_two(ids: list[str | int] | None) -> bool:
    return ids is not None and len(ids) == 2 and all(str(each).strip() for each in ids)


def _missing(event: StitchedEvent, what: str) -> Rejected:
    return Rejected("validate", Reason.MISSING_FIELD, f"{event.event_name} needs {what}")
