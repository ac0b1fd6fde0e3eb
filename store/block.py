"""Rows as JSON in, columns for the native protocol out.

A column in which no row says anything is left out, so that the table's own default applies. JSON columns are sent as
text in the `…_text` column beside them: the driver's own writer for JSON takes each value apart in Python. Instants
become integers: `datetime` objects cost nine times as much.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import msgspec

from store.columns import type_of
from store.errors import BadRows

_NO_TEXT: Final = msgspec.Raw(b'""')
_NO_OBJECT: Final = msgspec.Raw(b"{}")
_NOTHING: Final[list[str]] = []


@dataclass(frozen=True, slots=True)
class _Column:
    """`decoded` is the type that msgspec reads, `absent` what stands for a member that is not there (compared by
    identity), `write` makes the driver's value, where that is another."""

    member: str
    name: str
    decoded: Any
    absent: object
    write: Callable[[Any], object] | None


class BlockShape:
    """How rows become a block, for a table with these insertable columns (name: ClickHouse type)."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._columns = [
            _column(name, written, columns) for name, written in columns.items() if not _is_twin(name, columns)
        ]
        fields = [(column.member, column.decoded, _default(column.absent)) for column in self._columns]
        row = msgspec.defstruct("Row", fields, kw_only=True, gc=False, forbid_unknown_fields=True)
        self._decode = msgspec.json.Decoder(row).decode_lines

    def block(self, rows: Sequence[bytes]) -> dict[str, list[object]]:
        """Column name: values, in the order of the rows, of which each of `rows` is one or several, by lines. Raises
        BadRows where a row does not fit the columns."""
        try:
            decoded = [row for lines in rows for row in self._decode(lines)]
            return {column.name: values for column in self._columns if (values := _values(column, decoded))}
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            raise BadRows(f"a row does not fit the table: {error}; look at its `raw`") from error


def _values(column: _Column, rows: Sequence[object]) -> list[object]:
    """Empty where no row has the member."""
    values = list(map(attrgetter(column.member), rows))
    if all(value is column.absent for value in values):
        return []
    return list(map(column.write, values)) if column.write else values


def _is_twin(name: str, columns: Mapping[str, str]) -> bool:
    """Whether it carries a JSON column's text."""
    return name.endswith("_text") and type_of(columns.get(name.removesuffix("_text"), "")).name == "JSON"


def _column(name: str, written: str, columns: Mapping[str, str]) -> _Column:
    found = type_of(written)

    def column(decoded: Any, absent: object, write: Callable[[Any], object] | None = None) -> _Column:
        if found.is_nullable:
            return _Column(name, name, decoded | None, None, write and (lambda v: None if v is None else write(v)))
        return _Column(name, name, decoded, absent, write)

    match found.name:
        case "JSON":
            to = f"{name}_text" if f"{name}_text" in columns else name
            return _Column(name, to, msgspec.Raw, _NO_OBJECT, bytes)
        case "String" if found.is_nullable or written.startswith("LowCardinality"):
            return column(str, "")
        case "String":
            return column(msgspec.Raw, _NO_TEXT, _verbatim)
        case "DateTime64":
            ticks = 10 ** int(found.arguments[0])
            return column(float, 0.0, lambda seconds: round(seconds * ticks))
        case "DateTime":
            return column(float, 0.0, int)
        case "Array" if type_of(found.arguments[0]).name == "String":
            return column(list[str], _NOTHING)
        case "Map":
            return column(msgspec.Raw, _NO_OBJECT, _mapping)
        case "Float32" | "Float64":
            return column(float, 0.0)
        case "Bool":
            return column(bool, False)
        case name_ if name_.startswith(("Int", "UInt")):
            return column(int, 0)
        case _:
            return column(str, "")


def _default(absent: object) -> Any:
    return msgspec.field(default_factory=lambda: absent) if isinstance(absent, list) else absent


def _verbatim(value: msgspec.Raw) -> bytes:
    """What JSONEachRow stores in a String: a text's characters; any other JSON as it was written."""
    written = bytes(value)
    if not written.startswith(b'"'):
        return b"" if written == b"null" else written
    if b"\\" not in written:
        return written[1:-1]
    return _bytes(_loads(written))


def _mapping(value: msgspec.Raw) -> dict[bytes, bytes]:
    return {_bytes(key): _bytes(text) for key, text in _loads(bytes(value)).items()}


def _loads(written: bytes) -> Any:
    """JSON whose texts may hold bytes that are not UTF-8, as dead letters do."""
    return json.loads(written.decode("utf-8", "surrogateescape"))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
