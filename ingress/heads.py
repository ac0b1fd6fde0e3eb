"""The few fields of an event that the ingress itself needs, read from bytes that may be anything.

What is not JSON at all is told at once. A field of a type that it cannot have is none of the ingress's business: it
counts as absent here, and the step that validates refuses the event with its reason.
"""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from ingress.errors import Problem
from pipeline.surrogates import mended, original_items

_ABSENT = msgspec.Raw(b"")
_INTEGER = re.compile(rb"-?[0-9]{1,4300}")


class Head(msgspec.Struct, rename="camel", frozen=True):
    """Of one event: its ids, and the key where the client put it into the body."""

    user_id: str | int | None = None
    anonymous_id: str | int | None = None
    message_id: str | int | None = None
    write_key: str | None = None


NO_HEAD = Head()


class BatchHead(msgspec.Struct, rename="camel", frozen=True):
    """Of a batch: its items, byte for byte, and what it says for all of them."""

    batch: list[msgspec.Raw]
    sent_at: str | int | None = None
    write_key: str | None = None
    context: msgspec.Raw = _ABSENT
    integrations: msgspec.Raw = _ABSENT


class _LaxHead(msgspec.Struct, rename="camel"):
    user_id: msgspec.Raw = _ABSENT
    anonymous_id: msgspec.Raw = _ABSENT
    message_id: msgspec.Raw = _ABSENT
    write_key: msgspec.Raw = _ABSENT


class _LaxBatchHead(msgspec.Struct, rename="camel"):
    batch: msgspec.Raw = _ABSENT
    sent_at: msgspec.Raw = _ABSENT
    write_key: msgspec.Raw = _ABSENT
    context: msgspec.Raw = _ABSENT
    integrations: msgspec.Raw = _ABSENT


_decode_head = msgspec.json.Decoder(Head).decode
_decode_batch = msgspec.json.Decoder(BatchHead).decode
_decode_lax_head = msgspec.json.Decoder(_LaxHead).decode
_decode_lax_batch = msgspec.json.Decoder(_LaxBatchHead).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode

_Read = TypeVar("_Read")


def read_head(body: bytes) -> Head | Problem:
    """The head of one event."""
    return _read(body, _decode_head, _lax_head, _head_with_surrogates)


def read_item(item: bytes) -> Head:
    """The head of an item of a batch that was read; what cannot be read in it counts as absent."""
    try:
        return _decode_head(item)
    except (msgspec.DecodeError, RecursionError):
        head = read_head(item)
        return NO_HEAD if isinstance(head, Problem) else head


def read_batch(body: bytes) -> BatchHead | Problem:
    """The head of a batch."""
    return _read(body, _decode_batch, _lax_batch, _batch_with_surrogates)


def _read(
    body: bytes,
    decode: Callable[[bytes], _Read],
    decode_lax: Callable[[bytes], _Read | Problem],
    decode_mended: Callable[[bytes, bytes], _Read | Problem],
) -> _Read | Problem:
    try:
        if not body.isascii():
            body.decode()
        try:
            return decode(body)
        except msgspec.ValidationError:
            return decode_lax(body)
    except msgspec.ValidationError:
        return Problem.NOT_AN_OBJECT
    except RecursionError:
        return Problem.TOO_DEEP
    except (msgspec.DecodeError, UnicodeDecodeError):
        readable = mended(body)
        return decode_mended(body, readable) if readable else Problem.INVALID_JSON


def _lax_head(body: bytes) -> Head:
    lax = _decode_lax_head(body)
    return Head(_id(lax.user_id), _id(lax.anonymous_id), _id(lax.message_id), _text(lax.write_key))


def _lax_batch(body: bytes) -> BatchHead | Problem:
    lax = _decode_lax_batch(body)
    if not bytes(lax.batch).startswith(b"["):
        return Problem.NO_BATCH
    return BatchHead(_decode_items(lax.batch), _id(lax.sent_at), _text(lax.write_key), lax.context, lax.integrations)


def _head_with_surrogates(_body: bytes, readable: bytes) -> Head | Problem:
    return read_head(readable)


def _batch_with_surrogates(body: bytes, readable: bytes) -> BatchHead | Problem:
    head = read_batch(readable)
    if isinstance(head, Problem):
        return head
    array = bytes(_decode_lax_batch(readable).batch)
    return msgspec.structs.replace(head, batch=original_items(body, readable, array, head.batch))


def _id(raw: msgspec.Raw) -> str | int | None:
    text = bytes(raw)
    return int(text) if _INTEGER.fullmatch(text) else _text(raw)


def _text(raw: msgspec.Raw) -> str | None:
    return _decode_text(raw) if bytes(raw).startswith(b'"') else None
