"""Values of ClickHouse's JSON formats as Python's: the types that the native wire gives for the same query."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from store.columns import element_type, type_of

Reader = Callable[[Any], Any]

TSV_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


def reader(written: str) -> Reader:
    """What turns a JSON value of this ClickHouse type into Python's. Instants are expected as ISO 8601."""
    read = _reader(written)
    return lambda value: None if value is None else read(value)


def as_parameter(value: object) -> str:
    """The text of a query parameter over HTTP (`param_name=`), which the server reads as it reads a TSV cell."""
    match value:
        case None:
            return "\\N"
        case str():
            return _escaped(value)
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        case list() | tuple():
            return "[" + ",".join(_literal(item) for item in value) + "]"
        case _:
            return str(value)


def _reader(written: str) -> Reader:
    found = type_of(written)
    match found.name:
        case "DateTime" | "DateTime64":
            return _instant
        case "Date" | "Date32":
            return date.fromisoformat
        case "UUID":
            return UUID
        case "Decimal":
            return Decimal
        case "Float32" | "Float64":
            return float
        case "Array":
            item = reader(found.arguments[0])
            return lambda values: [item(value) for value in values]
        case "Tuple":
            items = [reader(element_type(argument)) for argument in found.arguments]
            return lambda values: tuple(
                read(value)
                for read, value in zip(items, values.values() if isinstance(values, dict) else values, strict=True)
            )
        case "Map":
            item = reader(found.arguments[1])
            return lambda values: {key: item(value) for key, value in values.items()}
        case _:
            return _as_it_is


def _as_it_is(value: Any) -> Any:
    return value


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _escaped(text: str) -> str:
    return text.translate(TSV_ESCAPES)


def _literal(item: object) -> str:
    if item is None:
        return "NULL"
    if isinstance(item, int | float):
        return str(item)
    quoted = _escaped(str(item)).replace("'", "\\'")
    return f"'{quoted}'"
