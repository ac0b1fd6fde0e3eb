"""A record of `events.stitched`: one event, checked, deduplicated and attributed, as one JSON object.

It is exactly a row of the store in ClickHouse's JSONEachRow form, so the sink passes it on without looking inside,
and any Kafka consumer of a user's can read it. Instants are Unix seconds with milliseconds as decimals.
"""

from typing import Literal

import msgspec

from topics.raw import EMPTY_OBJECT

EventType = Literal["identify", "track", "page", "screen", "group", "alias"]


class StitchedEvent(msgspec.Struct, frozen=True, gc=False):
    """The canonical event. `properties`, `traits`, `context` and `integrations` are JSON objects, not decoded;
    `raw` is the client's own JSON of this event, byte for byte; where it holds half a surrogate pair, which no reader
    would take, it is that JSON as a text."""

    project_id: str
    message_id: str
    type: EventType
    event_name: str
    anonymous_id: str | None
    user_id: str | None
    stitched_user_id: str | None
    session_id: str | None
    timestamp: float
    original_timestamp: float | None
    sent_at: float | None
    received_at: float
    properties: msgspec.Raw = EMPTY_OBJECT
    traits: msgspec.Raw = EMPTY_OBJECT
    context: msgspec.Raw = EMPTY_OBJECT
    integrations: msgspec.Raw = EMPTY_OBJECT
    library: str | None = None
    warnings: tuple[str, ...] = ()
    raw: msgspec.Raw = EMPTY_OBJECT


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What the dedupe state needs of a stitched record."""

    project_id: str
    message_id: str
    received_at: float


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(StitchedEvent).decode
decode_receipt = msgspec.json.Decoder(Receipt).decode
