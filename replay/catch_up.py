"""Brings a table up to another of the same make: rows that one has, and the other lacks, are copied on the server.

Stretches of receipt time whose rows differ are found by a sum, so a table that lacks nothing is only read. Repeats and
concurrent inserts do no harm: a row that is copied twice is hidden by reading, like any repeat.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from replay.sides import Table
from store.client import Store
from store.columns import insertable, quoted

_STRETCH_MS: Final = 600_000
_ROWS_AT_ONCE: Final = 500_000
_SETTINGS: Final = "optimize_on_insert = 0, insert_deduplicate = 0, max_threads = 1, max_insert_threads = 1"


@dataclass(frozen=True, slots=True)
class _Stretch:
    first: int
    last: int
    rows: int

    def within(self, bucket: str) -> str:
        return f"{bucket} BETWEEN {self.first} AND {self.last}"


def catch_up(store: Store, table: Table, source: str, target: str, condition: str) -> int:
    """Copy the rows for which the condition holds and that the target lacks; `source` and `target` are names as SQL
    wants them. Returns how many rows lay in stretches that differed. Raises StoreError; a repeat is safe."""
    columns = ", ".join(map(quoted, _columns(store, source)))
    identity = f"({', '.join([*table.key, *table.repeats])})"
    bucket = f"intDiv(toUnixTimestamp64Milli({table.at}), {_STRETCH_MS})"
    stretches = list(_joined(_differing(store, source, target, condition, identity, bucket)))
    for each in stretches:
        where = f"{condition} AND {each.within(bucket)}"
        store.command(
            f"INSERT INTO {target} ({columns}) SELECT {columns} FROM {source} WHERE {where} "
            f"AND {identity} NOT IN (SELECT {identity} FROM {target} WHERE {where}) SETTINGS {_SETTINGS}"
        )
    return sum(each.rows for each in stretches)


def _differing(
    store: Store, source: str, target: str, condition: str, identity: str, bucket: str
) -> Sequence[_Stretch]:
    sides = " UNION ALL ".join(
        f"SELECT {bucket} AS bucket, count() AS rows, sum(cityHash64({identity})) AS hash, {side} AS side "
        f"FROM {name} FINAL WHERE {condition} GROUP BY bucket"
        for side, name in enumerate((source, target))
    )
    rows = store.query(
        f"SELECT bucket, sumIf(rows, side = 0) AS n FROM ({sides}) GROUP BY bucket "
        "HAVING n > 0 AND sumIf(hash, side = 0) != sumIf(hash, side = 1) ORDER BY bucket"
    )
    return [_Stretch(row["bucket"], row["bucket"], int(row["n"])) for row in rows]


def _joined(stretches: Sequence[_Stretch]) -> Iterator[_Stretch]:
    """Neighbours as one, as long as that is not too many rows at once."""
    open_: _Stretch | None = None
    for each in stretches:
        if open_ and open_.last + 1 == each.first and open_.rows + each.rows <= _ROWS_AT_ONCE:
            open_ = _Stretch(open_.first, each.last, open_.rows + each.rows)
            continue
        if open_:
            yield open_
        open_ = each
    if open_:
        yield open_


def _columns(store: Store, name: str) -> list[str]:
    described = insertable(store.query(f"DESCRIBE TABLE {name}"))
    return [column for column in described if not column.endswith("_text")]
