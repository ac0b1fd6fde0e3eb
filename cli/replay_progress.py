"""How far a replay is, its rate and the time that is left: a bar on a terminal, plain lines elsewhere, on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from replay.pace import duration, seconds_left

_LINE_EVERY_S = 5.0


@contextmanager
def progress(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """Call what it gives with how much more is done."""
    if not sys.stderr.isatty():
        yield _Lines(doing, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task, began_s = bar.add_task(doing, total=total, pace=""), time.monotonic()

        def advance(more: int) -> None:
            bar.advance(task, more)
            done = round(bar.tasks[0].completed)
            bar.update(task, pace=pace(done, total, time.monotonic() - began_s))

        yield advance


def pace(done: int, total: int, passed_s: float) -> str:
    per_s = done / passed_s if passed_s > 0 else 0.0
    return f"{per_s:,.0f}/s, {duration(seconds_left(done, total, per_s))} left"


class _Lines:
    """A line now and then, and one at the end."""

    def __init__(self, doing: str, total: int) -> None:
        self._doing, self._total, self._done = doing, total, 0
        self._began_s = self._told_s = time.monotonic()

    def __call__(self, more: int) -> None:
        self._done += more
        now_s = time.monotonic()
        if self._done >= self._total or now_s - self._told_s >= _LINE_EVERY_S:
            self._told_s = now_s
            shown = pace(self._done, self._total, now_s - self._began_s)
            click.echo(f"{self._doing}: {self._done:,} of {self._total:,}, {shown}", err=True)
