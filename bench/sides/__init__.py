"""The sides that the worker is measured against: each the same way of an event in another framework.

Each module here is a process of its own: `python -m bench.sides.NAME --kafka HOST:PORT --store URL --group GROUP
--events N --partitions P`. It takes all of `events.raw` from its first record, and ends with 0 once N records were
taken and all that they led to is durable. It says on its standard output when it is set up and about to take the first
record (`begin`), how many different events it put out (`rows K`), and that it is done (`end`). What it makes is named
after its group: topics, state, and the table of the store.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from store.client import Store, open_store
from store.columns import quoted
from store.migrate import migrate
from store.tables import EVENTS

INSERT_ROWS = 50_000
"""The most rows of one insert. ClickHouse asks for tens of thousands."""

INSERT_AFTER_S = 1.0
"""How long a row waits at most for its insert, where the framework lets that be said."""


@dataclass(frozen=True, slots=True)
class Side:
    """What the runner says. `events` is how many records `events.raw` has over all of its `partitions`."""

    kafka: str
    store: str
    group: str
    events: int
    partitions: int

    def new_folder(self) -> Path:
        """An empty folder for state on disk."""
        folder = Path(tempfile.gettempdir()) / self.group
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder


class EventsTable:
    """A table of the group's own, made anew, with the columns that the worker's events go into."""

    def __init__(self, side: Side) -> None:
        self._store: Store = open_store(side.store)
        self._store.create_database()
        migrate(self._store)
        self.name = f"events_{side.group}"
        self._store.command(f"DROP TABLE IF EXISTS {quoted(self.name)}")
        self._store.command(f"CREATE TABLE {quoted(self.name)} AS {EVENTS}")
        self._inserts = 0

    def insert(self, rows: Sequence[bytes]) -> None:
        """Store rows, in as many inserts as that takes. They are in the store when it returns."""
        for first in range(0, len(rows), INSERT_ROWS):
            self._inserts += 1
            self._store.insert(self.name, rows[first : first + INSERT_ROWS], f"{self.name}/{self._inserts}")

    def rows(self) -> int:
        """How many rows are stored. Repeats count as well, as long as no merge has hidden them."""
        [row] = self._store.query(f"SELECT count() AS rows FROM {quoted(self.name)}")
        return int(row["rows"])


def side_of_arguments(description: str | None) -> Side:
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kafka", required=True, metavar="HOST:PORT")
    arguments.add_argument("--store", required=True, metavar="URL", help="ClickHouse's HTTP interface and the database")
    arguments.add_argument("--group", required=True, help="what everything that is made is named after")
    arguments.add_argument("--events", required=True, type=int, help="how many records events.raw has")
    arguments.add_argument("--partitions", required=True, type=int)
    given = arguments.parse_args()
    return Side(given.kafka, given.store, given.group, given.events, given.partitions)


def say_begin() -> None:
    print("begin", flush=True)


def say_end(rows: int) -> None:
    print(f"rows {rows}\nend", flush=True)
