"""`replay diff`: what a replay changes, before it is made live.

Leaves: tables on stdout, or one JSON value; with --html a page in a file of its own as well.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from cli.identity_tree import printable
from cli.output import json_option, write_columns, write_json
from cli.problems import telling
from cli.replay_html import page
from cli.replay_options import of_what, replay_argument
from cli.replay_tables import Table, tables
from cli.stage import stage
from embedded.addresses import resolve
from embedded.errors import EmbeddedError
from pipeline.settings import SettingsError, load
from replay import state
from replay.diff import Report
from replay.diff import diff as compare
from replay.errors import Refused, ReplayError
from replay.samples import Sample
from replay.shadow import open_shadow
from replay.sides import sides_of
from replay.state import Replay, Status
from store.client import open_store
from store.errors import StoreError


@click.command()
@replay_argument
@click.option(
    "--samples",
    "samples_each",
    type=click.IntRange(0, 20),
    default=3,
    show_default=True,
    help="How many rows of each event and kind of difference to show.",
)
@click.option(
    "--html", "html_file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Also write a page."
)
@json_option
@telling(SettingsError, EmbeddedError, StoreError, ReplayError, OSError)
def diff(replay_id: str | None, samples_each: int, html_file: Path | None, as_json: bool) -> None:
    """Show what a replay changes: rows new, gone and changed, by column, with samples; persons; dead letters.

    Changes nothing. The REPLAY need not be said where there is one alone.

    \b
    Example:
      whipstitch replay diff --html diff.html
    """
    settings = resolve(load(), "store")
    live = open_store(settings.store)
    replay = state.chosen(state.replays(live, settings.store), replay_id)
    check_ended(replay)
    shadow = open_shadow(settings.store, replay.id)
    report = compare(live, shadow, sides_of(settings.store, replay), stage, samples_each)
    if html_file:
        html_file.write_text(page(replay, report), "utf-8")
    if as_json:
        write_json({"replay": replay.id, "is_empty": report.is_empty, "report": report})
    else:
        _print(replay, report)


def check_ended(replay: Replay) -> None:
    """Raises Refused."""
    match replay.status:
        case Status.FINISHED:
            return
        case Status.FILLING | Status.RUNNING:
            raise Refused(f"replay {replay.id} has not ended: `whipstitch replay status` shows how far it is")
        case _:
            raise Refused(
                f"replay {replay.id} is {replay.status}: what it changed is live; `whipstitch replay swap --back` "
                "takes it back"
            )


def _print(replay: Replay, report: Report) -> None:
    click.echo(f"replay {replay.id}: {of_what(replay)}")
    if report.is_empty:
        click.echo("no difference")
        return
    for table in tables(report):
        _print_table(table)
    for line in _sample_lines(report.samples):
        click.echo(line)


def _print_table(table: Table) -> None:
    click.echo(f"\n{table.title}")
    rows = [[printable(cell) for cell in row] for row in table.rows]
    write_columns([name.upper() for name in table.heading], rows)


def _sample_lines(samples: Sequence[Sample]) -> Iterator[str]:
    if samples:
        yield "\nsamples"
    for each in samples:
        yield printable(f"{each.project_id} {each.name} {each.message_id}: {each.kind}")
        for name, (before, after) in each.columns.items():
            yield printable(f"  {name}: {_text(before)} → {_text(after)}")


def _text(value: str | None) -> str:
    return "-" if value is None else value
