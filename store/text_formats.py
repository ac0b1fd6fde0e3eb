"""Rows as text, for the native protocol: there the client, not the server, writes the format."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from store.errors import StoreFailure
from store.values import TSV_ESCAPES

Row = Sequence[object]
_BYTES: Final = "surrogateescape"
Writer = Callable[[Sequence[str], Iterable[Row]], Iterator[bytes]]


def writer(format: str) -> Writer:
    """Raises StoreFailure for a format that is not written here."""
    found = {
        "JSONEachRow": _json,
        "TabSeparated": lambda names, rows: _tsv(rows),
        "TabSeparatedWithNames": lambda names, rows: _tsv(_headed(names, rows)),
        "CSV": lambda names, rows: _csv(rows),
        "CSVWithNames": lambda names, rows: _csv(_headed(names, rows)),
    }
    if format not in found:
        raise StoreFailure(
            f"format {format!r} is not written over the native protocol; use one of {', '.join(found)}, "
            "or an http:// address in WHIPSTITCH_STORE"
        )
    return found[format]


def _headed(names: Sequence[str], rows: Iterable[Row]) -> Iterator[Row]:
    yield names
    yield from rows


def _json(names: Sequence[str], rows: Iterable[Row]) -> Iterator[bytes]:
    for row in rows:
        members = dict(zip(names, row, strict=True))
        yield json.dumps(members, default=str, ensure_ascii=False, separators=(",", ":")).encode(errors=_BYTES) + b"\n"


def _tsv(rows: Iterable[Row]) -> Iterator[bytes]:
    for row in rows:
        cells = ("\\N" if value is None else _text(value).translate(TSV_ESCAPES) for value in row)
        yield "\t".join(cells).encode(errors=_BYTES) + b"\n"


def _csv(rows: Iterable[Row]) -> Iterator[bytes]:
    for row in rows:
        yield ",".join(map(_csv_cell, row)).encode(errors=_BYTES) + b"\n"


def _csv_cell(value: object) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, int | float):
        return str(value)
    return '"' + _text(value).replace('"', '""') + '"'


def _text(value: object) -> str:
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"))
    return str(value)
