"""What a request of Mixpanel's clients holds: its records, byte for byte, and how it wants to be answered.

Records come as JSON in the body (one, a list, or one a line), or in a field `data` of a form or of the query, as JSON
or as base64 of JSON. The body's own first byte decides: clients name its type wrongly.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from ingress.contract import Request
from ingress.errors import Problem
from pipeline.surrogates import mended, original_items

_URL_SAFE: Final = bytes.maketrans(b"-_ ", b"+/+")  # a form's decoding has made a blank of each + that was not escaped
_BLANKS: Final = b"\r\n\t "

_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


@dataclass(frozen=True, slots=True)
class Sent:
    """`is_plain`: the records are the body itself. `ip`: whether the sender's address may be kept, None where it is
    not said. `api_key` is what the oldest clients name their project by."""

    data: bytes | Problem
    is_plain: bool
    is_strict: bool
    is_verbose: bool
    ip: bool | None
    api_key: str | None


def read_request(request: Request) -> Sent:
    """A request's data and its fields, be they in the query or in the form; of a field in both, the form's counts."""
    body = request.body.strip(_BLANKS)
    fields = dict(_fields_of(request.query))
    is_plain = body.startswith((b"{", b"["))
    if not is_plain:
        fields.update(_fields_of(body))
    data = body if is_plain else fields.pop(b"data", None)
    said_ip = fields.get(b"ip")
    return Sent(
        data=Problem.NO_DATA if data is None else data if is_plain else _json_of(data),
        is_plain=is_plain,
        is_strict=_is_on(fields, b"strict"),
        is_verbose=_is_on(fields, b"verbose"),
        ip=None if said_ip is None else said_ip == b"1",
        api_key=fields.get(b"api_key", b"").decode("latin-1") or None,
    )


def items_of(data: bytes, may_be_lines: bool) -> list[bytes] | Problem:
    """The records, each as its client wrote it."""
    try:
        if data.startswith(b"["):
            return [bytes(item) for item in _decode_items(data)]
        _decode_any(data)
        return [data]
    except RecursionError:
        return Problem.TOO_DEEP
    except msgspec.DecodeError:
        if may_be_lines and data.startswith(b"{") and b"\n" in data:
            return [line.strip(_BLANKS) for line in data.split(b"\n") if line.strip(_BLANKS)]
        return _items_with_surrogates(data)


def _items_with_surrogates(data: bytes) -> list[bytes] | Problem:
    readable = mended(data)
    if readable is None:
        return Problem.INVALID_JSON
    items = items_of(readable, may_be_lines=False)
    if isinstance(items, Problem) or not data.startswith(b"["):
        return items if isinstance(items, Problem) else [data]
    return [bytes(item) for item in original_items(data, readable, readable, map(msgspec.Raw, items))]


def _fields_of(encoded: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of a form or a query (application/x-www-form-urlencoded), as bytes."""
    pairs = (field.partition(b"=") for field in encoded.split(b"&"))
    return [(name, unquote_to_bytes(value.replace(b"+", b" "))) for name, _, value in pairs]


def _json_of(data: bytes) -> bytes | Problem:
    text = data.strip(_BLANKS)
    if text.startswith((b"{", b"[")):
        return text
    encoded = text.translate(_URL_SAFE, b"\r\n\t=")
    try:
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True).strip(_BLANKS)
    except binascii.Error:
        return Problem.INVALID_DATA


def _is_on(fields: Mapping[bytes, bytes], name: bytes) -> bool:
    return fields.get(name) in (b"1", b"true")
