"""Cuts a table that both sides have into slices of about as many rows each, so that no step of a comparison holds more.

Slices follow the sort key, which the engine finds without reading the rest of the table. Where to cut is known from a
sample by hash: what it takes is one column.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from replay.sides import Sides, Table, literal
from store.client import Row, Store

ROWS_AT_ONCE: Final = 200_000
_SAMPLES_A_SLICE: Final = 16


@dataclass(frozen=True, slots=True)
class Slice:
    """The SQL condition for its rows, which needs no parameters."""

    where: str


def slices(
    store: Store, sides: Sides, table: Table, condition: str | None = None, rows_at_once: int = ROWS_AT_ONCE
) -> Sequence[Slice]:
    """All rows of either side for which the condition holds (the replay's range if not said), each in one slice."""
    where = sides.inside(table) if condition is None else condition
    one_in = max(1, rows_at_once // _SAMPLES_A_SLICE)
    prefix = ", ".join(table.prefix)
    sampled = f"cityHash64({', '.join(table.key)}) % {one_in} = 0"
    sample = " UNION ALL ".join(
        f"SELECT {prefix}, {table.ranged}, {sampled} AS is_sampled FROM {name} WHERE {where}"
        for name in (sides.of_live(table.stored), sides.of_shadow(table.stored))
    )
    rows = store.query(
        f"SELECT {prefix}, arraySort(groupUniqArrayIf({table.ranged}, is_sampled)) AS sample "
        f"FROM ({sample}) GROUP BY {prefix} ORDER BY {prefix}"
    )
    return [piece for row in rows for piece in _cut(table, row, min(_SAMPLES_A_SLICE, rows_at_once))]


def _cut(table: Table, row: Row, every: int) -> Iterator[Slice]:
    prefix = " AND ".join(f"{name} = {literal(row[name])}" for name in table.prefix)
    cuts = row["sample"][every::every]
    for after, until in zip([None, *cuts], [*cuts, None], strict=True):
        bounds = [prefix]
        if after is not None:
            bounds.append(f"{table.ranged} >= {literal(after)}")
        if until is not None:
            bounds.append(f"{table.ranged} < {literal(until)}")
        yield Slice(" AND ".join(bounds))
