"""A record of `events.raw` that is no event: an order to forget users of one anonymous id.

It lies on the partition of that id, behind all that was said of it, so that the one worker that keeps the id's state
takes them out of it, and a replay does the same at the same place.
"""

import msgspec

from topics.keys import anonymous_key
from topics.records import Headers, RawRecord, Record

FORGET_HEADER = "whipstitch-forget"


class Forget(msgspec.Struct, frozen=True):
    """The anonymous id, and the users that it is to know no longer."""

    project_id: str
    anonymous_id: str
    user_ids: tuple[str, ...]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Forget).decode


def is_forget(headers: Headers) -> bool:
    return any(name == FORGET_HEADER for name, _ in headers)


def read_forget(record: RawRecord) -> Forget:
    """Raises msgspec.DecodeError."""
    return _decode(record.value or b"")


def forget_record(forget: Forget, now_ms: int) -> Record:
    key = anonymous_key(forget.project_id, forget.anonymous_id)
    return key, _encode(forget), now_ms, ((FORGET_HEADER, b""),)
