"""What the commands on replays share: moments, and which replay is meant."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cli.output import instant
from pipeline.instants import read_instant
from replay.state import Replay

_Command = TypeVar("_Command", bound=Callable[..., Any])

replay_argument = click.argument("replay_id", metavar="[REPLAY]", required=False)


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Unix milliseconds."""
    at_ms = read_instant(value) if value is not None else None
    if value is not None and at_ms is None:
        raise click.BadParameter(f"{value!r}; write it as 2026-01-31T12:00:00Z, or a day as 2026-01-31")
    return at_ms


def range_options(command: _Command) -> _Command:
    from_ = click.option(
        "--from",
        "from_ms",
        metavar="T",
        required=True,
        callback=moment,
        help="Received then or later; UTC if not said.",
    )
    to = click.option("--to", "to_ms", metavar="T", required=True, callback=moment, help="Received before then.")
    return from_(to(command))


def of_what(replay: Replay) -> str:
    """The range and the project, as people read it."""
    project = "all projects" if replay.project_id is None else f"project {replay.project_id}"
    return f"{project}, {instant(replay.from_ms / 1000)} to {instant(replay.to_ms / 1000)}"
