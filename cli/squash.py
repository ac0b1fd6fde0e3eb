"""`squash`: writes who did them into old events, so that old history is read without the joins."""

from datetime import UTC, datetime

import click

from cli.output import json_option, write_json
from cli.problems import telling
from cli.sql import store_url
from embedded.errors import EmbeddedError
from pipeline.settings import SettingsError, load
from store.client import open_store
from store.errors import StoreError
from store.squash import squash as squash_events


@click.command()
@click.option(
    "--before",
    required=True,
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    help="Events received in whole months before this date (UTC).",
)
@click.option("--project", help="Of this project alone.")
@json_option
@telling(SettingsError, EmbeddedError, StoreError)
def squash(before: datetime, project: str | None, as_json: bool) -> None:
    """Write who did them into old events: queries over old history get faster, and answer the same.

    Nothing is lost by it, and what comes later counts as ever: an identify or a merge changes the past of squashed
    events too. Run it each month, or when old history has become slow. Safe beside a running system, to break off, and
    to repeat.

    \b
    Example:
      whipstitch squash --before 2026-01-01
    """
    until = before.replace(tzinfo=UTC)
    if until > datetime.now(UTC):
        raise click.BadParameter("must not lie in the future", param_hint="--before")
    with store_url(load()) as url:
        done = squash_events(open_store(url), until, project, _tell)
    if as_json:
        write_json({"months": done.months, "squashed": done.events, "joined": done.joined})
        return
    click.echo(
        f"{done.months} {'month' if done.months == 1 else 'months'} before {until:%Y-%m-%d}: "
        f"{done.events:,} events squashed, {done.joined:,} left to joins"
        if done.months
        else f"nothing to squash: no month with events ended before {until:%Y-%m-%d}"
    )


def _tell(month: str, number: int, months: int) -> None:
    click.echo(f"squash: {month[:4]}-{month[4:]} ({number} of {months})", err=True)
