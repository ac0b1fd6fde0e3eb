"""`export`: what was received in a stretch of time, as lines of JSON that `replay start --source` reads."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click

from broker.errors import BrokerError
from cli.problems import telling
from cli.replay_options import range_options
from cli.replay_progress import progress
from embedded.addresses import resolve
from embedded.errors import EmbeddedError
from pipeline.settings import SettingsError, load
from replay.errors import ReplayError
from replay.export import export as hand_out
from replay.export import written
from replay.scope import Scope


@click.command()
@range_options
@click.option("--project", "project_id", help="Only this project.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a file, packed with zstd where its name ends with .zst; stdout if not said.",
)
@telling(SettingsError, EmbeddedError, BrokerError, ReplayError, OSError)
def export(from_ms: int, to_ms: int, project_id: str | None, output: Path | None) -> None:
    """Write out the raw events that were received in a stretch of time, one a line, as JSON.

    Each line has the client's own bytes and what the ingress noted of them, so `replay start --source` can take them
    again.

    \b
    Example:
      whipstitch export --from 2026-01-31 --to 2026-02-01 --output january-31.ndjson.zst
    """
    if from_ms >= to_ms:
        raise click.UsageError("--from must be before --to")
    settings, scope = resolve(load(), "kafka"), Scope(from_ms, to_ms, project_id)
    with ExitStack() as opened:
        write = opened.enter_context(written(output)) if output else click.get_binary_stream("stdout").write

        def sized(total: int) -> Callable[[int], None]:
            return opened.enter_context(progress("exporting", total))

        count = asyncio.run(hand_out(settings, scope, write, sized))
    click.echo(f"{count:,} events{f' in {output}' if output else ''}", err=True)
