"""Exchanges a replay's tables with the live ones while the sinks go on inserting: no row is lost, and none is seen
twice.

Arrives: both databases, and the UUIDs that their tables had before. Leaves: the replay's tables under the live names
with all that came meanwhile, and the old ones in the replay's database. The steps are numbered, and each is safe to
repeat: a swap that was killed begins again with the first, and what is exchanged already is known by its UUID.

1. `mirror`: what is inserted into a live table goes into its shadow too, from now on.
2. `bring_up`: what came before that, and since the shadow was filled, is copied. Done once before the first step too,
   it leaves little to do between the steps.
3. `exchange`: each table at once. An insert that is under way goes to the old table, and by the mirror to the new one.
4. `bring_up_rest`: an insert may have stored its rows and failed in the mirror, so that its repeat was dropped; it may
   have begun before there was a mirror; or have found its table before the exchange, and the mirror's after it, which
   is the same one then. Once no insert of before is under way, what the old table has more is copied.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from replay.catch_up import catch_up
from replay.errors import Refused
from replay.sides import PERSONS_TABLE, TABLES, Sides, Table
from store.client import Store

_CHECK_EVERY_S: Final = 0.05
_NO_UUID: Final = "00000000-0000-0000-0000-000000000000"

Uuids = Mapping[str, str]
"""Table: UUID."""


def uuids(store: Store, database: str) -> dict[str, str]:
    """Of the tables that are exchanged. Raises Refused where the database's tables have none."""
    sql = (
        "SELECT name, toString(uuid) AS uuid FROM system.tables "
        "WHERE database = {database:String} AND name IN {names:Array(String)}"
    )
    rows = store.query(sql, {"database": database, "names": [table.stored for table in TABLES]})
    found = {str(row["name"]): str(row["uuid"]) for row in rows}
    if _NO_UUID in found.values():
        raise Refused(
            f"the tables of {database} cannot be exchanged: the database's engine is not Atomic; "
            "make one with ENGINE = Atomic, and move the tables there"
        )
    return found


class Exchange:
    """Between two databases; `shadow_uuids` are those of the tables that are to become live. Every method raises
    StoreError."""

    def __init__(self, store: Store, sides: Sides, shadow_uuids: Uuids) -> None:
        self._store = store
        self._sides = sides
        self._shadow_uuids = shadow_uuids

    def is_begun(self) -> bool:
        """Whether a table is exchanged."""
        return len(self._left()) < len(TABLES)

    def mirror(self) -> None:
        for table in self._left():
            # A step of a person stands where the worker believes it to stand: a step that it takes back, it tells.
            condition = "1" if table is PERSONS_TABLE else self._sides.outside(table)
            live, shadow = self._sides.of_live(table.stored), self._sides.of_shadow(table.stored)
            self._store.command(
                f"CREATE MATERIALIZED VIEW IF NOT EXISTS {self._mirror(table)} TO {shadow} "
                f"AS SELECT * FROM {live} WHERE {condition}"
            )

    def bring_up(self) -> None:
        for table in self._left():
            live, shadow = self._sides.of_live(table.stored), self._sides.of_shadow(table.stored)
            # What the replay computed of persons rests on all that was received before that.
            condition = self._later_steps() if table is PERSONS_TABLE else self._sides.outside(table)
            catch_up(self._store, table, live, shadow, condition)

    def exchange(self) -> None:
        for table in self._left():
            live, shadow = self._sides.of_live(table.stored), self._sides.of_shadow(table.stored)
            self._store.command(f"EXCHANGE TABLES {live} AND {shadow}")

    def bring_up_rest(self) -> None:
        wait_for_inserts(self._store)
        self.drop_mirrors()
        for table in TABLES:
            live, shadow = self._sides.of_live(table.stored), self._sides.of_shadow(table.stored)
            catch_up(self._store, table, shadow, live, self._sides.behind(table))

    def drop_mirrors(self) -> None:
        """Before the shadow's tables go: a live insert would fail without them."""
        for table in TABLES:
            self._store.command(f"DROP VIEW IF EXISTS {self._mirror(table)} SYNC")

    def _later_steps(self) -> str:
        return f"({self._sides.behind(PERSONS_TABLE)} OR NOT {self._sides.of_project()})"

    def _left(self) -> Sequence[Table]:
        """The tables that are not exchanged yet."""
        now = uuids(self._store, self._sides.live)
        return [table for table in TABLES if now[table.stored] != self._shadow_uuids[table.stored]]

    def _mirror(self, table: Table) -> str:
        return self._sides.of_live(f"mirror_{self._sides.shadow}_{table.stored}")


def wait_for_inserts(store: Store) -> None:
    """Return when no insert is under way that is under way now."""
    running = "SELECT query_id FROM system.processes WHERE query_kind = 'Insert'"
    left = {row["query_id"] for row in store.query(running)}
    while left:
        time.sleep(_CHECK_EVERY_S)
        left &= {row["query_id"] for row in store.query(running)}
