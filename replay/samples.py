"""A few of the rows that differ, whole enough to see why: what each changed column was, and what it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from replay.compare import Comparison
from replay.sides import Sides
from store.client import Row, Store
from store.columns import quoted

Kind = Literal["new", "gone", "changed"]
_MOST: Final = 200
_MOST_CHARS: Final = 400
# What tells most about a row that is on one side only.
_TOLD: Final = ("timestamp", "received_at", "anonymous_id", "user_id", "stitched_user_id", "properties", "warnings")


@dataclass(frozen=True, slots=True)
class Sample:
    """`columns`: what each was before, and is after; None is no value, or no row. Long texts are cut."""

    project_id: str
    name: str
    message_id: str
    kind: Kind
    columns: Mapping[str, tuple[str | None, str | None]]


def read_samples(store: Store, sides: Sides, comparison: Comparison, each: int) -> Sequence[Sample]:
    """The first by message id of each project, event name and kind of difference."""
    rows = store.query(
        f"SELECT project_id, name, message_id, kind, columns FROM {sides.of_shadow(comparison.scratch)} "
        f"ORDER BY project_id, name, kind, message_id LIMIT {each} BY project_id, name, kind LIMIT {_MOST}"
    )
    if not rows:
        return []
    names = sorted({name for row in rows for name in row["columns"]} | {*_TOLD})
    before = _read(store, sides.of_live(comparison.table.shown), rows, names)
    after = _read(store, sides.of_shadow(comparison.table.shown), rows, names)
    return [_sample(row, before.get(_key(row), {}), after.get(_key(row), {})) for row in rows]


def _sample(row: Row, before: Row, after: Row) -> Sample:
    names = row["columns"] or [name for name in _TOLD if before.get(name) or after.get(name)]
    columns = {name: (before.get(name), after.get(name)) for name in names}
    return Sample(row["project_id"], row["name"], row["message_id"], row["kind"], columns)


def _read(store: Store, view: str, keys: Sequence[Row], names: Sequence[str]) -> dict[tuple[str, str], Row]:
    """Values as text, by project and message id."""
    texts = ", ".join(f"substringUTF8(toString({quoted(name)}), 1, {_MOST_CHARS}) AS {quoted(name)}" for name in names)
    found: dict[tuple[str, str], Row] = {}
    for project_id in sorted({row["project_id"] for row in keys}):
        params = {
            "project": project_id,
            "ids": [row["message_id"] for row in keys if row["project_id"] == project_id],
        }
        where = "project_id = {project:String} AND message_id IN {ids:Array(String)}"
        rows = store.query(f"SELECT project_id, message_id, {texts} FROM {view} WHERE {where}", params)
        found |= {_key(row): row for row in rows}
    return found


def _key(row: Row) -> tuple[str, str]:
    return row["project_id"], row["message_id"]
