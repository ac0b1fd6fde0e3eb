"""The database of a replay, beside the live one and of the same make: made, filled with all that the replay leaves as
it is, and dropped.

Every table and view stands in it under its usual name, so all that reads a store reads it too. Every function raises
StoreError, and is safe to repeat.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from replay import state
from replay.state import Replay
from store.address import address_of
from store.client import Store, open_store
from store.columns import insertable, quoted
from store.migrate import migrate
from store.tables import EDGES, EVENTS, LINKS, PERSONS, PROJECTS, REJECTED
from topics.control import Project

# When a row came, by the table that holds it; a dead letter without a stamp goes by the record's own time.
RECEIVED: Final = {
    EVENTS: "received_at",
    LINKS: "received_at",
    EDGES: "received_at",
    REJECTED: "ifNull(received_at, rejected_at)",
}
TABLES: Final = (EVENTS, LINKS, EDGES, REJECTED, PERSONS, PROJECTS)

# Copies take one thread of the store's, so that live inserts and queries have the others.
_SETTINGS: Final = "optimize_on_insert = 0, max_threads = 1, max_insert_threads = 1"
_EPHEMERAL: Final = "_text"

Told = Callable[[int], None]
"""Hears how many rows more are copied."""


def database_of(store_url: str, replay_id: str) -> str:
    return state.database_prefix(store_url) + replay_id


def url_of(store_url: str, replay_id: str) -> str:
    """The address of the replay's database, on the same server."""
    return urlunsplit(urlsplit(store_url)._replace(path=f"/{quote(database_of(store_url, replay_id), safe='')}"))


def open_shadow(store_url: str, replay_id: str) -> Store:
    """A store whose tables are the replay's. Connects at the first call."""
    return open_store(url_of(store_url, replay_id))


def create(shadow: Store, replay: Replay) -> None:
    """Make the database with all its tables, and note the replay in it."""
    shadow.create_database()
    state.create_tables(shadow)
    state.write(shadow, replay)
    migrate(shadow)


def drop(store: Store, store_url: str, replay_id: str) -> None:
    """Drop the database with all that is in it; `store` is the live one."""
    store.command(f"DROP DATABASE IF EXISTS {quoted(database_of(store_url, replay_id))} SYNC")


def outside(replay: Replay, table: str) -> str:
    """The condition for a table's rows that the replay leaves as they are. Of PERSONS and PROJECTS those of other
    projects; `parameters` fills it."""
    others = "" if replay.project_id is None else "project_id != {project:String}"
    if table not in RECEIVED:
        return others or "false"
    received = RECEIVED[table]
    by_time = f"{received} < {{from:DateTime64(3, 'UTC')}} OR {received} >= {{to:DateTime64(3, 'UTC')}}"
    return f"({by_time} OR {others})" if others else f"({by_time})"


def inside(replay: Replay, table: str) -> str:
    """The condition for a table's rows that the replay makes anew; `parameters` fills it."""
    return f"NOT {outside(replay, table)}"


def parameters(replay: Replay) -> dict[str, object]:
    given: dict[str, object] = {"from": instant(replay.from_ms), "to": instant(replay.to_ms)}
    return given if replay.project_id is None else {**given, "project": replay.project_id}


def copy(shadow: Store, live_database: str, table: str, where: str, params: Mapping[str, object]) -> None:
    """Insert the rows of a live table for which the condition holds. A row that is there already is hidden by reading,
    like any repeat."""
    columns = ", ".join(map(quoted, _columns(shadow, table)))
    shadow.command(
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {quoted(live_database)}.{table} "
        f"WHERE {where} SETTINGS {_SETTINGS}",
        params,
    )


@dataclass(frozen=True, slots=True)
class Filling:
    """The copies to be made, one after the other. `rows` is about how many they are in all."""

    replay: Replay
    live_database: str
    slices: list["_Slice"]

    @property
    def rows(self) -> int:
        return sum(each.rows for each in self.slices)


@dataclass(frozen=True, slots=True)
class _Slice:
    """Rows of a table: a whole month of it, which is attached and takes no room; one day of it; or all of it."""

    table: str
    rows: int
    month: str | None = None
    day: datetime | None = None


def filling(store: Store, store_url: str, replay: Replay) -> Filling:
    """What there is to copy from the live store as it is now."""
    slices = [*_months(store, replay), *_days(store, replay), *_others(store, replay)]
    return Filling(replay, address_of(store_url).database, slices)


def fill(shadow: Store, planned: Filling, told: Told) -> None:
    """Begin with empty tables, and copy."""
    for table in TABLES:
        shadow.command(f"TRUNCATE TABLE {table}")
    for each in planned.slices:
        if each.month is not None:
            source = f"{quoted(planned.live_database)}.{each.table}"
            shadow.command(f"ALTER TABLE {each.table} ATTACH PARTITION ID '{each.month}' FROM {source}")
        else:
            where, params = _condition(planned.replay, each)
            copy(shadow, planned.live_database, each.table, where, params)
        told(each.rows)


def set_project(shadow: Store, project: Project) -> None:
    """Let the views go by these settings of a project. A change that live makes later wins."""
    shadow.command(
        f"INSERT INTO {PROJECTS} (project_id, policy, max_users_per_anonymous_id, version) "
        "SELECT {project:String}, {policy:String}, {most:UInt32}, max(version) + 1 "
        f"FROM {PROJECTS} WHERE project_id = {{project:String}}",
        {"project": project.id, "policy": project.policy, "most": project.max_users_per_anonymous_id},
    )


def instant(unix_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=unix_ms)


def _columns(store: Store, table: str) -> list[str]:
    described = insertable(store.query(f"DESCRIBE TABLE {table}"))
    return [name for name in described if not name.endswith(_EPHEMERAL)]


def _months(store: Store, replay: Replay) -> Iterator[_Slice]:
    """Whole months of events that are not of the range."""
    for month, rows in _counted(store, "toYYYYMM(received_at)", f"NOT {_TOUCHED}", replay):
        yield _Slice(EVENTS, rows, month=str(month))


def _days(store: Store, replay: Replay) -> Iterator[_Slice]:
    """The rest of the events by day, so that no statement takes long."""
    where = f"{_TOUCHED} AND {outside(replay, EVENTS)}"
    for day, rows in _counted(store, "toStartOfDay(received_at)", where, replay):
        yield _Slice(EVENTS, rows, day=day)


_TOUCHED: Final = (
    "toYYYYMM(received_at) BETWEEN toYYYYMM({from:DateTime64(3, 'UTC')}) "
    "AND toYYYYMM({to:DateTime64(3, 'UTC')} - INTERVAL 1 MILLISECOND)"
)


def _others(store: Store, replay: Replay) -> Iterator[_Slice]:
    for table in TABLES[1:]:
        where = outside(replay, table) if table != PROJECTS else "true"
        [row] = store.query(f"SELECT count() AS n FROM {table} WHERE {where}", parameters(replay))
        if row["n"]:
            yield _Slice(table, int(row["n"]))


def _counted(store: Store, by: str, where: str, replay: Replay) -> Iterator[tuple[Any, int]]:
    sql = f"SELECT {by} AS slice, count() AS n FROM {EVENTS} WHERE {where} GROUP BY slice ORDER BY slice"
    for row in store.query(sql, parameters(replay)):
        yield row["slice"], int(row["n"])


def _condition(replay: Replay, each: _Slice) -> tuple[str, dict[str, object]]:
    if each.table == PROJECTS:
        return "true", {}
    where, params = outside(replay, each.table), parameters(replay)
    if each.day is None:
        return where, params
    return f"{where} AND toStartOfDay(received_at) = {{day:DateTime64(3, 'UTC')}}", {**params, "day": each.day}
