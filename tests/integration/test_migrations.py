"""What migrations promise: complete, repeatable, and never backwards."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from store.client import Store, StoreFailure, open_store
from store.migrate import migrate, migrations, pending
from tests.rows import event_row, insert


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


def test_several_processes_may_migrate_at_once(store_url: str) -> None:
    address = f"{store_url}/race_{uuid4().hex}"
    stores = [open_store(address) for _ in range(4)]
    with ThreadPoolExecutor(len(stores)) as pool:
        for done in [pool.submit(migrate, store) for store in stores]:
            done.result()
    assert pending(stores[0]) == []
    for store in stores:
        store.close()
