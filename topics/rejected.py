"""A record of `events.rejected`, the dead letters: key, value and headers of the record that was refused, untouched,
and one more header that says where it stood, which step refused it and why. Enough to try it again."""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

REJECTION_HEADER = "whipstitch-rejection"

Step = Literal["ingress", "validate", "link", "sink"]


class Reason(StrEnum):
    """Why an event was refused. Closed: docs and dashboards list exactly these."""

    NO_STAMP = "no_stamp"  # the record did not come through an ingress
    INVALID_JSON = "invalid_json"  # not JSON, or not UTF-8
    NOT_AN_OBJECT = "not_an_object"  # JSON, but not an object
    TOO_DEEP = "too_deep"  # nested deeper than can be read safely
    TOO_LARGE = "too_large"  # more bytes than the limit for an event
    INVALID_FIELD = "invalid_field"  # a field has a type or a value that it cannot have
    MISSING_FIELD = "missing_field"  # a field that this call needs is absent or empty
    MISSING_ID = "missing_id"  # neither a user id nor an anonymous id
    UNKNOWN_TYPE = "unknown_type"  # the event's type is not one of the six calls
    NEEDS_SECRET_KEY = "needs_secret_key"  # only a server may send this: it ties two users for good
    BLOCKED_ID = "blocked_id"  # an id that names nobody: the event is kept, its id ties nothing
    ALREADY_MERGED = "already_merged"  # the anonymous id belongs to another user: the event is kept, the link is not
    STORE_REFUSED = "store_refused"  # the store cannot hold this row; the detail has ClickHouse's code


class Rejection(msgspec.Struct, frozen=True):
    """Where the record stood and why it was refused. `rejected_at_ms` is the refused record's own time, so that a
    replay says the same."""

    source_topic: str
    source_partition: Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]
    source_offset: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    step: Step
    reason: Reason
    detail: str
    rejected_at_ms: int


encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Rejection)


def read_rejection(headers: tuple[tuple[str, bytes], ...]) -> Rejection:
    """The last rejection among a dead letter's headers: what was refused may have brought one along. Raises ValueError
    or RecursionError where there is none or it is not one."""
    for name, value in reversed(headers):
        if name == REJECTION_HEADER:
            return _decoder.decode(value)
    raise ValueError(f"no {REJECTION_HEADER!r} header")
