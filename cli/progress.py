"""How far long work is: a bar on a terminal, a plain line now and then elsewhere; on stderr either way."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

Advance = Callable[[int], None]

_LINES = 10
_LONG = 1000


@contextmanager
def progress(doing: str, total: int) -> Iterator[Advance]:
    """Call what it gives with how much more is done."""
    if not sys.stderr.isatty():
        yield _plain(doing, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda more: bar.advance(task, more)


def _plain(doing: str, total: int) -> Advance:
    done, told = 0, 0

    def advance(more: int) -> None:
        nonlocal done, told
        done += more
        if total >= _LONG and done * _LINES // total > told:
            told = done * _LINES // total
            click.echo(f"{doing}: {done:,} of {total:,}", err=True)

    return advance
