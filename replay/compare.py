"""Finds the rows that differ between the two sides of a replay.

Arrives: two tables of one make. Leaves: a scratch table in the shadow database with the key of each row that is new,
gone or changed, and which of its columns changed. The server does it slice by slice, so neither side's memory grows
with the tables; where nothing differs, nothing is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pipeline.forget import Stage
from replay.sides import EDGES_TABLE, EVENTS_TABLE, LETTERS_TABLE, LINKS_TABLE, Sides, Table
from replay.slices import ROWS_AT_ONCE, Slice, slices
from store.client import Store
from store.columns import quoted, type_of

SCRATCH: Final = "differing_"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What to compare of a table: `columns`, or all that its view `shown` has beyond the key; and `carried`, the SQL of
    further columns of the scratch table by name, taken from the live row, where there is one."""

    table: Table
    columns: tuple[str, ...] = ()
    carried: Mapping[str, str] = field(default_factory=dict)
    besides: str = "1"

    @property
    def scratch(self) -> str:
        return f"{SCRATCH}{self.table.shown}"


EVENTS: Final = Comparison(EVENTS_TABLE, carried={"name": "ifNull(event_name, type)"})
LINKS: Final = Comparison(LINKS_TABLE, ("user_id", "timestamp", "kind", "received_at"), {"name": "kind"})
EDGES: Final = Comparison(
    EDGES_TABLE,
    ("kind", "action", "from_user_id", "to_user_id", "timestamp", "received_at"),
    {"name": "concat(kind, ' ', action)"},
)
# What is left of a letter that was dropped is a note, not a letter.
LETTERS: Final = Comparison(
    LETTERS_TABLE,
    ("project_id", "message_id", "raw"),
    {"project_id": "project_id", "message_id": "ifNull(message_id, '')", "name": "reason"},
    besides="step != 'dropped'",
)
COMPARISONS: Final = (EVENTS, LINKS, EDGES, LETTERS)


def compare(store: Store, sides: Sides, comparison: Comparison, stage: Stage, rows_at_once: int = ROWS_AT_ONCE) -> None:
    """Fill the comparison's scratch table anew. Raises StoreError; a repeat is safe."""
    table, scratch = comparison.table, sides.of_shadow(comparison.scratch)
    columns = _hashed(store, sides, comparison)
    drop_scratch(store, sides, comparison.scratch)
    kept = [name for name in table.key if name not in comparison.carried]
    carried = [f"'' AS {name}" for name in comparison.carried]
    store.command(
        f"CREATE TABLE {scratch} ENGINE = MergeTree ORDER BY tuple() AS SELECT {', '.join([*kept, *carried])}, "
        f"'' AS kind, [''] AS columns FROM {sides.of_live(table.stored)} WHERE 0"
    )
    pieces = slices(store, sides, table, rows_at_once=rows_at_once)
    with stage(f"comparing {table.shown}") as told:
        for left, piece in zip(range(len(pieces), 0, -1), pieces, strict=True):
            told(left)
            store.command(f"INSERT INTO {scratch} {_differing(sides, comparison, columns, piece)}")
        told(0)


def drop_scratch(store: Store, sides: Sides, name: str) -> None:
    store.command(f"DROP TABLE IF EXISTS {sides.of_shadow(name)} SYNC")


def _hashed(store: Store, sides: Sides, comparison: Comparison) -> dict[str, str]:
    """Each compared column's name, and the SQL for a hash of its value."""
    described = store.query(f"DESCRIBE TABLE {sides.of_live(comparison.table.stored)}")
    types = {row["name"]: row["type"] for row in described if row["default_type"] not in {"ALIAS", "EPHEMERAL"}}
    wanted = comparison.columns or [
        row["name"]
        for row in store.query(f"DESCRIBE TABLE {sides.of_live(comparison.table.shown)}")
        if row["name"] not in comparison.table.key
    ]
    return {name: _hash(name, types[name]) for name in wanted}


def _hash(name: str, written: str) -> str:
    """The same for the same value, however a part of the table happens to lay it out."""
    found = type_of(written)
    value = f"toJSONString({quoted(name)})" if found.name == "JSON" else quoted(name)
    return f"ifNull(sipHash64({value}), 0)" if found.is_nullable else f"sipHash64({value})"


def _differing(sides: Sides, comparison: Comparison, columns: Mapping[str, str], piece: Slice) -> str:
    table = comparison.table
    key = ", ".join(table.key)
    carried = [f"{sql} AS of_{name}" for name, sql in comparison.carried.items()]
    where = f"{sides.inside(table)} AND {comparison.besides} AND {piece.where}"
    rows = " UNION ALL ".join(
        f"SELECT {', '.join([key, *carried])}, [{', '.join(columns.values())}] AS hashes, {side} AS side "
        f"FROM {name} FINAL WHERE {where}"
        for side, name in enumerate((sides.of_live(table.stored), sides.of_shadow(table.stored)))
    )
    kept = [name for name in table.key if name not in comparison.carried]
    shown = [*kept, *(f"argMin(of_{name}, side) AS {name}" for name in comparison.carried)]
    names = ", ".join(f"'{name}'" for name in columns)
    return (
        f"SELECT {', '.join(shown)}, "
        "multiIf(min(side) = 1, 'new', max(side) = 0, 'gone', 'changed') AS kind, "
        f"if(kind = 'changed', arrayFilter((name, was, is) -> was != is, [{names}], "
        "anyIf(hashes, side = 0), anyIf(hashes, side = 1)), []) AS columns "
        f"FROM ({rows}) GROUP BY {key} HAVING kind != 'changed' OR notEmpty(columns)"
    )
