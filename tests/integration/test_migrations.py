"""What migrations promise: complete, repeatable, and never backwards."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from store.client import Store, StoreFailure, open_store
from store.migrate import Migration, migrate, migrations, pending
from store.tables import LINKS
from tests.rows import event_row, insert, link_row


@pytest.fixture
def empty(store_url: str) -> Iterator[Store]:
    """A store whose database is not there yet."""
    opened = open_store(f"{store_url}/empty_{uuid4().hex}")
    yield opened
    opened.close()


def test_migrating_again_changes_nothing(empty: Store) -> None:
    assert [found.version for found in pending(empty)] == [found.version for found in migrations()]
    assert migrate(empty) == migrations()
    assert migrate(empty) == pending(empty) == []


def test_versions_have_no_gap() -> None:
    assert [found.version for found in migrations()] == list(range(1, len(migrations()) + 1))


def test_store_that_is_newer_is_refused_with_what_to_do(empty: Store) -> None:
    migrate(empty)
    empty.command("INSERT INTO schema_migrations (version, name) SELECT 9999, 'of a later version'")
    for call in (migrate, pending):
        with pytest.raises(StoreFailure, match=r"9999.*upgrade whipstitch"):
            call(empty)


def test_migration_that_stopped_half_way_is_finished_later(empty: Store) -> None:
    migrate(empty)
    insert(empty, event_row())
    empty.command("DROP VIEW events_resolved_v")
    empty.command("ALTER TABLE schema_migrations DELETE WHERE version >= 2 SETTINGS mutations_sync = 2")
    assert [found.version for found in migrate(empty)] == [found.version for found in migrations()[1:]]
    assert empty.query("SELECT message_id FROM events_resolved_v") == [{"message_id": "m"}]


VIEWS_OF_VERSION_4 = (
    "identity_facts",
    "identity_links",
    "anonymous_ids",
    "anonymous_id_owners",
    "events_resolved_v",
    "persons_v",
)


def test_store_of_version_4_ends_as_a_fresh_one(store_url: str, empty: Store) -> None:
    """Those views stood in the first four migrations, and stand in the fifth now."""
    name = f"of_version_4_{uuid4().hex}"
    old = open_store(f"{store_url}/{name}")
    apply(old, migrations()[:4])
    for view in VIEWS_OF_VERSION_4:
        old.command(f"CREATE VIEW {view} AS SELECT 1 AS one")
    insert(old, event_row(anonymous_id="A"))
    insert(old, link_row(message_id="n"), table=LINKS)
    assert [found.version for found in migrate(old)] == [found.version for found in migrations()[4:]]
    assert old.query("SELECT resolved_user_id FROM events_resolved_v") == [{"resolved_user_id": "U"}]
    migrate(empty)
    assert made(old) == made(empty)
    old.close()


def apply(store: Store, old: list[Migration]) -> None:
    store.create_database()
    store.command("CREATE TABLE schema_migrations (version UInt32, name String) ENGINE = MergeTree ORDER BY version")
    for migration in old:
        for statement in migration.statements:
            store.command(statement)
        store.command(f"INSERT INTO schema_migrations VALUES ({migration.version}, '{migration.name}')")


def made(store: Store) -> dict[str, str]:
    """Every table and view, and how it was made."""
    sql = """
        SELECT name, replaceAll(create_table_query, currentDatabase() || '.', '') AS made FROM system.tables
        WHERE database = currentDatabase() AND name != 'schema_migrations'
    """
    return {row["name"]: row["made"] for row in store.query(sql)}


def test_several_processes_may_migrate_at_once(store_url: str) -> None:
    address = f"{store_url}/race_{uuid4().hex}"
    stores = [open_store(address) for _ in range(4)]
    with ThreadPoolExecutor(len(stores)) as pool:
        for done in [pool.submit(migrate, store) for store in stores]:
            done.result()
    assert pending(stores[0]) == []
    for store in stores:
        store.close()
