"""The schema as numbered migrations: brings a store to this version, and refuses one that is newer.

Every statement can be run again (IF NOT EXISTS, OR REPLACE), which is what makes it safe to stop half way and to
start two processes at once: ClickHouse has no transactions to lean on. A migration counts once all of it ran.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

from store.client import Store
from store.errors import UNKNOWN_DATABASE, UNKNOWN_TABLE, StoreFailure
from store.present_views import with_present_views

_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    version UInt32,
    name String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY version
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """`0003_rejected.sql` is version 3, named "rejected"."""

    version: int
    name: str
    statements: Sequence[str]


def migrations() -> list[Migration]:
    """All that this version knows, in order."""
    found, before = [], list[str]()
    for version, name, sql in sorted(_read()):
        statements = with_present_views(_statements(sql), before)
        found.append(Migration(version, name, statements))
        before += statements
    return found


def pending(store: Store) -> list[Migration]:
    """What the store lacks. Raises StoreFailure where it is newer than this code."""
    known = migrations()
    applied = _applied(store)
    newest = max(applied, default=0)
    if newest > known[-1].version:
        raise StoreFailure(
            f"the store's schema is version {newest}, this whipstitch knows up to {known[-1].version}; "
            "upgrade whipstitch, or give it another database in WHIPSTITCH_STORE"
        )
    return [migration for migration in known if migration.version not in applied]


def migrate(store: Store) -> list[Migration]:
    """Apply what is missing, and answer it. Raises StoreError; safe to call again after any."""
    missing = pending(store)
    if missing:
        store.create_database()
        store.command(_RECORD)
    for migration in missing:
        for statement in migration.statements:
            store.command(statement)
        store.command(
            "INSERT INTO schema_migrations (version, name) SELECT {version:UInt32}, {name:String}",
            {"version": migration.version, "name": migration.name},
        )
    return missing


def _applied(store: Store) -> set[int]:
    try:
        return {row["version"] for row in store.query("SELECT DISTINCT version FROM schema_migrations")}
    except StoreFailure as error:
        if error.code in (UNKNOWN_DATABASE, UNKNOWN_TABLE):
            return set()
        raise


def _read() -> Iterator[tuple[int, str, str]]:
    for file in (resources.files("store") / "migrations").iterdir():
        if found := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name):
            yield int(found[1]), found[2], file.read_text("utf-8")


def _statements(sql: str) -> list[str]:
    """They end with a semicolon at the end of a line."""
    return [statement for part in re.split(r";[ \t]*(?:\n|$)", sql) if (statement := part.strip())]
