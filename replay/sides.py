"""The two sides of a replay in the store: the live tables, and beside them the shadow tables of its own database.

Both have the same tables and views. They differ by what was received in the replay's range; all that lies outside of
it is on either side the same.
"""

from dataclasses import dataclass
from typing import Final

from replay import state
from replay.state import Replay
from store.address import address_of
from store.columns import quoted
from store.tables import EDGES, EVENTS, LINKS, PERSONS, REJECTED


@dataclass(frozen=True, slots=True)
class Table:
    """A table of both sides. `key` tells its rows apart, as its sort key does: it begins with `prefix`, and `ranged` is
    the column behind that. `repeats` tells apart the rows of one key. `at` is the SQL for when a row was received."""

    stored: str
    shown: str
    prefix: tuple[str, ...]
    ranged: str
    further: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ("received_at",)
    at: str = "received_at"

    @property
    def key(self) -> tuple[str, ...]:
        return (*self.prefix, self.ranged, *self.further)


EVENTS_TABLE: Final = Table(EVENTS, "events", ("project_id",), "message_id")
LINKS_TABLE: Final = Table(LINKS, "identity_links", ("project_id",), "message_id", ("anonymous_id",))
EDGES_TABLE: Final = Table(EDGES, "identity_edges", ("project_id",), "message_id")
LETTERS_TABLE: Final = Table(
    REJECTED,
    "rejected_events",
    ("source_topic", "source_partition"),
    "source_offset",
    ("step", "reason"),
    repeats=("rejected_at",),
    at="ifNull(received_at, rejected_at)",
)
PERSONS_TABLE: Final = Table(
    PERSONS, "identity_persons", ("project_id",), "user_id", ("since",), ("version",), at="since"
)

RECEIVED_TABLES: Final = (EVENTS_TABLE, LINKS_TABLE, EDGES_TABLE, LETTERS_TABLE)
"""What a replay decides again: each row has a moment of receipt, and lies in the replay's range or outside of it."""
TABLES: Final = (*RECEIVED_TABLES, PERSONS_TABLE)
"""What a swap exchanges."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Names of the two databases, and the range: received from `from_ms` on and before `to_ms` (Unix milliseconds), of
    one project or, None, of all."""

    live: str
    shadow: str
    from_ms: int
    to_ms: int
    project_id: str | None = None

    def of_live(self, name: str) -> str:
        return f"{quoted(self.live)}.{quoted(name)}"

    def of_shadow(self, name: str) -> str:
        return f"{quoted(self.shadow)}.{quoted(name)}"

    def inside(self, table: Table) -> str:
        """The SQL condition for rows in the range. It carries its values, as a materialized view has no parameters."""
        from_, to = instant(self.from_ms), instant(self.to_ms)
        return f"({table.at} >= {from_} AND {table.at} < {to} AND {self.of_project()})"

    def outside(self, table: Table) -> str:
        return f"NOT {self.inside(table)}"

    def of_project(self) -> str:
        return "1" if self.project_id is None else f"project_id = {literal(self.project_id)}"

    def behind(self, table: Table) -> str:
        """The SQL condition for rows that came after the range."""
        return f"{table.at} >= {instant(self.to_ms)}"


def sides_of(store_url: str, replay: Replay) -> Sides:
    live = address_of(store_url).database
    return Sides(live, state.database_prefix(store_url) + replay.id, replay.from_ms, replay.to_ms, replay.project_id)


def instant(unix_ms: int) -> str:
    return f"fromUnixTimestamp64Milli({unix_ms}, 'UTC')"


def literal(value: str | int) -> str:
    """A value as SQL writes it."""
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
