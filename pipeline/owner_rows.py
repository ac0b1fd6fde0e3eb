"""The rows of the identity table: what is kept of one anonymous id, as bytes.

What was lately encoded or decoded is at hand, since a device that does much is asked for with every batch. A row says
all that it is made of, so it can be had again whatever has become of the table meanwhile.
"""

from typing import Final

import msgspec

from pipeline.identity import Ownership

_MOST_AT_HAND: Final = 2048  # of 16 points each a few kilobytes

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Ownership).decode
_at_hand: Final[dict[bytes, Ownership]] = {}


def encode(state: Ownership) -> bytes:
    row = _encode(state)
    _keep(row, state)
    return row


def decode(row: bytes) -> Ownership:
    state = _at_hand.get(row)
    if state is None:
        state = _decode(row)
        _keep(row, state)
    return state


def _keep(row: bytes, state: Ownership) -> None:
    if len(_at_hand) >= _MOST_AT_HAND:
        _at_hand.clear()
    _at_hand[row] = state
