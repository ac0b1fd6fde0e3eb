"""Records of `events.raw` that are no events: orders about one anonymous id, to the worker that keeps its state.

An order lies on the partition of that id, behind all that was said of it, so that it is obeyed in its place, and again
when the state is lost and read back.
"""

import msgspec

from topics.keys import anonymous_key
from topics.links import LinkFact
from topics.records import UNREADABLE, RawRecord, Record

ORDER_HEADER = "whipstitch-order"


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """These users are to be known no longer as owners of the anonymous id."""

    project_id: str
    anonymous_id: str
    user_ids: tuple[str, ...]


class Correct(msgspec.Struct, frozen=True, tag="correct"):
    """What a replay that was swapped in found otherwise: facts that are none, as (timestamp in Unix seconds, message
    id), and facts that come instead."""

    project_id: str
    anonymous_id: str
    without: tuple[tuple[float, str], ...]
    facts: tuple[LinkFact, ...]


Order = Forget | Correct

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Order).decode


def order_of(record: RawRecord) -> Order | None:
    """The order that a record without a stamp may be; None where it is none, or none that can be read."""
    if not any(name == ORDER_HEADER for name, _ in record.headers):
        return None
    try:
        return read_order(record)
    except UNREADABLE:
        return None


def read_order(record: RawRecord) -> Order:
    """Raises topics.records.UNREADABLE."""
    order: Order = _decode(record.value or b"")
    return order


def order_record(order: Order, now_ms: int) -> Record:
    key = anonymous_key(order.project_id, order.anonymous_id)
    return key, _encode(order), now_ms, ((ORDER_HEADER, b""),)
