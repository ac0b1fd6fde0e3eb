"""A record of `events.raw`: the client's own bytes as the value, and beside them, in one header, the ingress's stamp.

The stamp holds everything that the bytes alone do not say: whose they are, when they came, and what the batch
around them said. Everything behind this topic is a function of these records and nothing else.
"""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

STAMP_HEADER = "whipstitch"
MAX_MESSAGE_ID = 100  # characters; a dialect may allow more
LATEST_MS = 9_999_999_999_999  # the year 2286; what lies outside is no instant that anybody meant

EMPTY_OBJECT = msgspec.Raw(b"{}")


class Dialect(StrEnum):
    SEGMENT = "segment"
    MILLIMETRIC = "millimetric"
    MIXPANEL = "mixpanel"


class Stamp(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What the ingress knows of one event. Instants are Unix milliseconds; `context` and `integrations` are a batch's
    own objects, as its client wrote them; `call` is the endpoint's event type, or "" where the event itself says it;
    `anonymous_id` is one that the ingress made up, where the dialect wants one and its client sent none."""

    project_id: str
    message_id: str
    received_at_ms: Annotated[int, msgspec.Meta(ge=0, le=LATEST_MS)]
    dialect: Dialect = Dialect.SEGMENT
    call: str = ""
    key_kind: Literal["public", "secret"] = "public"
    ip: str | None = None
    user_agent: str | None = None
    sent_at: str | None = None
    context: msgspec.Raw = EMPTY_OBJECT
    integrations: msgspec.Raw = EMPTY_OBJECT
    anonymous_id: str | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Stamp)


def stamp_header(stamp: Stamp) -> tuple[str, bytes]:
    return STAMP_HEADER, _encoder.encode(stamp)


def read_stamp(headers: tuple[tuple[str, bytes], ...]) -> Stamp:
    """The stamp among a record's headers. Raises ValueError where there is none or it is not one."""
    for name, value in headers:
        if name == STAMP_HEADER:
            return _decoder.decode(value)
    raise ValueError(f"no {STAMP_HEADER!r} header")
