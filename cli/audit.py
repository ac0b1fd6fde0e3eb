"""`audit`: is all that was received stored, or a dead letter? By project and hour; exit code 1 where it is not."""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from broker.errors import BrokerError
from cli.audit_run import MOST_LOOKED_INTO, Audit, run
from cli.control import now_ms
from cli.letter_output import printable
from cli.options import moment_ms
from cli.output import instant, json_option, write_columns, write_json
from cli.problems import telling
from cli.progress import progress
from embedded.addresses import resolve
from embedded.errors import EmbeddedError
from pipeline.audit import HOUR_MS, Count, Window
from pipeline.settings import SettingsError, load
from store.client import open_store
from store.errors import StoreError

_DEFAULT_MS = 24 * HOUR_MS
_NUMBERS = ("received", "stored", "rejected", "dropped", "forgotten", "under_way", "missing", "unexpected", "doubled")
# Shown only where there are any.
_SELDOM = {"dropped", "forgotten"}
_LISTS = ("missing_ids", "unexpected_ids", "doubled_ids")


@click.command()
@click.option("--project", "project_id", help="Only this project.")
@click.option("--from", "from_ms", metavar="T", callback=moment_ms, help="Received then or later; UTC if not said.")
@click.option("--to", "to_ms", metavar="T", callback=moment_ms, help="Received before then.")
@json_option
@telling(SettingsError, EmbeddedError, BrokerError, StoreError)
def audit(project_id: str | None, from_ms: int | None, to_ms: int | None, as_json: bool) -> None:
    """Hold what was received against what is stored or a dead letter, per project and hour; the last 24 h if not said.

    Works while everything runs, and changes nothing. Exit 1 where a message is missing, unexpected or doubled.

    \b
    Example:
      whipstitch audit --project default --from 2026-01-31 --to 2026-02-01
    """
    until_ms = now_ms() if to_ms is None else to_ms
    window = Window(until_ms - _DEFAULT_MS if from_ms is None else from_ms, until_ms, project_id)
    if window.from_ms >= window.to_ms:
        raise click.UsageError("--from must be before --to")
    settings = resolve(load(), "kafka", "store")
    with tempfile.TemporaryDirectory(prefix="whipstitch-audit-") as folder:
        done = asyncio.run(run(settings, open_store(settings.store), window, Path(folder), progress))
    rows = list(done.report.rows())
    if as_json:
        for row in rows:
            write_json(_as_json(*row))
    else:
        _print(rows)
    _print_notes(window, done)
    if not done.report.is_equal:
        raise SystemExit(1)


def _as_json(project_id: str, hour_ms: int, count: Count) -> dict[str, object]:
    return {"project": project_id or None, "hour": instant(hour_ms / 1000), "ok": count.is_equal, **asdict(count)}


def _print(rows: Sequence[tuple[str, int, Count]]) -> None:
    shown = [name for name in _NUMBERS if name not in _SELDOM or any(getattr(count, name) for _, _, count in rows)]
    heading = ("", "PROJECT", "HOUR", *(name.upper().replace("_", " ") for name in shown))
    write_columns(
        heading,
        [
            (
                "ok" if count.is_equal else "WRONG",
                printable(project_id) or "-",
                datetime.fromtimestamp(hour_ms / 1000, UTC).strftime("%Y-%m-%dT%HZ"),
                *(f"{getattr(count, name):,}" for name in shown),
            )
            for project_id, hour_ms, count in rows
        ],
    )
    for project_id, _, count in rows:
        for name in _LISTS:
            for id_ in getattr(count, name):
                click.echo(f"{name.removesuffix('_ids')}: {printable(project_id) or '-'} {printable(id_)}")


def _print_notes(asked: Window, done: Audit) -> None:
    if done.window.from_ms > asked.from_ms:
        since = instant(done.window.from_ms / 1000)
        click.echo(f"events.raw reaches back to {since}: what came before is not audited", err=True)
    if done.unexplained:
        click.echo(
            f"more than {MOST_LOOKED_INTO:,} messages differ: {done.unexplained:,} of them are counted without a look "
            "at what became of them; audit a shorter time",
            err=True,
        )
