"""What the commands on replays share: moments, and which replay is meant."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cli.options import moment_ms
from cli.output import instant
from replay.state import Replay

_Command = TypeVar("_Command", bound=Callable[..., Any])

replay_argument = click.argument("replay_id", metavar="[REPLAY]", required=False)


def range_options(command: _Command) -> _Command:
    from_ = click.option(
        "--from",
        "from_ms",
        metavar="T",
        required=True,
        callback=moment_ms,
        help="Received then or later; UTC if not said.",
    )
    to = click.option("--to", "to_ms", metavar="T", required=True, callback=moment_ms, help="Received before then.")
    return from_(to(command))


def of_what(replay: Replay) -> str:
    """The range and the project, as people read it."""
    project = "all projects" if replay.project_id is None else f"project {replay.project_id}"
    return f"{project}, {instant(replay.from_ms / 1000)} to {instant(replay.to_ms / 1000)}"
