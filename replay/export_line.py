"""A line of an export: one record of `events.raw` as a JSON object, from which the very same record can be made again.

    {"partition":0,"offset":7,"timestamp":1790000000000,"key":"p|a:A","stamp":{…},"event":{…}}

`event` is the client's own JSON and `stamp` what the ingress noted of it, both byte for byte. What cannot stand in a
line of JSON as it is (a body cut short, or with line breaks in it) is there as `event_base64`; a key that is no UTF-8
is in `key_base64`, and any other header in `headers_base64`.
"""

import mmap
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import Final

import cramjam
import msgspec

from replay.errors import Refused
from topics.names import RAW
from topics.raw import STAMP_HEADER
from topics.records import UNREADABLE, PlacedRecord, RawRecord

ZSTD_SUFFIX: Final = ".zst"

_MOST_NESTED: Final = 500


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    timestamp: int
    partition: int = 0
    offset: int | None = None
    key: str | None = None
    key_base64: str | None = None
    stamp: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    headers_base64: list[tuple[str, str]] = []
    event: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    event_base64: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


def line_of(record: RawRecord) -> bytes:
    """Without the line break."""
    stamp = dict(record.headers).get(STAMP_HEADER) if len(record.headers) == 1 else None
    stamp_fits, event_fits = stamp is not None and _fits(stamp), record.value is not None and _fits(record.value)
    key, key_base64 = _text(record.key)
    return _encode(
        _Line(
            timestamp=record.timestamp,
            partition=record.partition,
            offset=record.offset,
            key=key,
            key_base64=key_base64,
            stamp=msgspec.Raw(stamp) if stamp_fits and stamp else msgspec.UNSET,
            headers_base64=[] if stamp_fits else [(name, _base64(value)) for name, value in record.headers],
            event=msgspec.Raw(record.value) if event_fits and record.value else msgspec.UNSET,
            event_base64=None if event_fits or record.value is None else _base64(record.value),
        )
    )


def record_of(line: bytes, number: int) -> PlacedRecord:
    """`number` counts lines, and stands for an offset that is not told. Raises msgspec.DecodeError or ValueError."""
    read = _decode(line)
    stamp = [] if isinstance(read.stamp, msgspec.UnsetType) else [(STAMP_HEADER, bytes(read.stamp))]
    value = None if isinstance(read.event, msgspec.UnsetType) else bytes(read.event)
    key = None if read.key is None else read.key.encode()
    return PlacedRecord(
        topic=RAW,
        partition=read.partition,
        offset=number if read.offset is None else read.offset,
        timestamp=read.timestamp,
        key=key if read.key_base64 is None else b64decode(read.key_base64, validate=True),
        value=value if read.event_base64 is None else b64decode(read.event_base64, validate=True),
        headers=(*stamp, *((name, b64decode(text, validate=True)) for name, text in read.headers_base64)),
    )


def read_lines(paths: Sequence[Path]) -> Iterator[PlacedRecord]:
    """All records of these files, plain or zstd by their suffix. Raises Refused, which names file and line."""
    number = 0
    for path in paths:
        first = number
        try:
            for line in _lines(path):
                yield record_of(line, number)
                number += 1
        except UNREADABLE as error:
            raise Refused(f"{path}, line {number - first + 1}: not a line of `whipstitch export`: {error}") from error
        except OSError as error:
            raise Refused(f"{path}: cannot be read: {error.strerror or error}") from error


def _lines(path: Path) -> Iterator[bytes]:
    if path.suffix != ZSTD_SUFFIX:
        with path.open("rb") as file:
            yield from file
        return
    with path.open("rb") as packed, mmap.mmap(packed.fileno(), 0, access=mmap.ACCESS_READ) as content:
        read_end, write_end = os.pipe()
        unpacking = _Unpacking(content, write_end)
        unpacking.start()
        try:
            with os.fdopen(read_end, "rb") as file:
                yield from file
        finally:
            unpacking.join()
    if unpacking.failed is not None:
        raise ValueError(f"not whole as zstd: {unpacking.failed}")


class _Unpacking(Thread):
    """Unpacks into a pipe, so that a file of any size takes little memory: cramjam gives no pieces."""

    def __init__(self, content: mmap.mmap, write_end: int) -> None:
        super().__init__(daemon=True)
        self.failed: Exception | None = None
        self._content = content
        self._write_end = write_end

    def run(self) -> None:
        try:
            cramjam.zstd.decompress_into(self._content, cramjam.File(f"/dev/fd/{self._write_end}"))
        except (cramjam.DecompressionError, OSError) as error:
            self.failed = error
        finally:
            os.close(self._write_end)


def _fits(text: bytes) -> bool:
    """Whether it can stand in a line of JSON and be taken from there as it was."""
    if b"\n" in text or b"\r" in text or text != text.strip():
        return False
    if text.count(b"{") + text.count(b"[") > _MOST_NESTED:  # what is nested deep can be read on its own, not in a line
        return False
    try:
        text.decode()
        return bytes(_decode_any(text)) == text
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _text(key: bytes | None) -> tuple[str | None, str | None]:
    try:
        return (None if key is None else key.decode()), None
    except UnicodeDecodeError:
        return None, _base64(key or b"")


def _base64(value: bytes) -> str:
    return b64encode(value).decode()
