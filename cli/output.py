"""What commands print: JSON, one value a line, for programs; columns for people."""

from collections.abc import Sequence
from datetime import UTC, datetime

import click
import orjson

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one value a line.")


def write_json(value: object) -> None:
    click.echo(orjson.dumps(value))


def write_columns(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    for row in (heading, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def instant(unix_s: float) -> str:
    """UTC, to the second, as ISO 8601."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
