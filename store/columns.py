"""Columns of a table as the server describes them, and ClickHouse's type names taken apart."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_NOT_INSERTABLE: Final = {"MATERIALIZED", "ALIAS"}
_TRANSPARENT: Final = ("Nullable", "LowCardinality", "SimpleAggregateFunction")


@dataclass(frozen=True, slots=True)
class Type:
    """`LowCardinality(Nullable(String))` is a String; what an element may be is in `arguments`, as it was written."""

    name: str
    arguments: tuple[str, ...] = ()
    is_nullable: bool = False


def insertable(described: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Name: type of the columns that an insert may name, from the rows of DESCRIBE TABLE. 18.16 has no `default_type`
    other than these either."""
    return {row["name"]: row["type"] for row in described if row["default_type"] not in _NOT_INSERTABLE}


def quoted(name: str) -> str:
    """A name as SQL wants it, whatever is in it."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def type_of(written: str) -> Type:
    """A type's own name, looking through Nullable and the like."""
    name, arguments = _split(written)
    if name not in _TRANSPARENT:
        return Type(name, arguments)
    inner = type_of(arguments[-1])
    return Type(inner.name, inner.arguments, is_nullable=inner.is_nullable or name == "Nullable")


def element_type(argument: str) -> str:
    """The type of one element of a Tuple, which may be written with a name before it."""
    head = argument.partition("(")[0]
    return argument.partition(" ")[2] if " " in head else argument


def _split(written: str) -> tuple[str, tuple[str, ...]]:
    name, bracket, rest = written.partition("(")
    return name, tuple(_arguments(rest[:-1])) if bracket else ()


def _arguments(text: str) -> Iterator[str]:
    """The parts between commas that stand in no brackets and no quotes."""
    depth, start, quote = 0, 0, ""
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote and text[index - 1] != "\\" else quote
        elif char in "'`":
            quote = char
        elif char == "," and depth == 0:
            yield text[start:index].strip()
            start = index + 1
        depth += (char == "(") - (char == ")") if not quote else 0
    yield text[start:].strip()
