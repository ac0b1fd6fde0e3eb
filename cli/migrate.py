"""`migrate`: brings the store's tables to this version."""

import click

from cli.problems import telling
from cli.sql import store_url
from embedded.errors import EmbeddedError
from pipeline.settings import SettingsError, load
from store.client import open_store
from store.errors import StoreError
from store.migrate import migrate as apply_migrations


@click.command()
@telling(SettingsError, EmbeddedError, StoreError)
def migrate() -> None:
    """Bring the store to this version. Safe to repeat; refused where the store is newer.

    \b
    Example:
      WHIPSTITCH_STORE=clickhouse://user:password@host:9000/whipstitch whipstitch migrate
    """
    with store_url(load()) as url:
        applied = apply_migrations(open_store(url))
    click.echo(
        "\n".join(f"applied {migration.version:04} {migration.name}" for migration in applied)
        or "the store is of this version"
    )
