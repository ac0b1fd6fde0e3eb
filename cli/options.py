"""Options that several commands take alike."""

from datetime import UTC, datetime

import click

from pipeline.instants import read_instant

max_standstill_option = click.option(
    "--max-standstill-s",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="Give up where the workers get nowhere for so long.",
)


def moment_ms(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """An option's callback: the instant in Unix milliseconds; UTC where the text says no other."""
    at_ms = read_instant(value)
    if value is not None and at_ms is None:
        raise click.BadParameter(f"{value!r}; write it as 2026-01-31T12:00:00Z, or a day as 2026-01-31")
    return at_ms


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """The same as a datetime in UTC."""
    at_ms = moment_ms(ctx, param, value)
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC)
