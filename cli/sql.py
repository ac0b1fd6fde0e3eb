"""`sql`: asks the store, embedded or not, also while `up` runs.

Arrives: one statement. Leaves: the answer on stdout, piece by piece as it comes, in one of ClickHouse's formats: a
table on a terminal, tab-separated with names elsewhere. Where the store is embedded and does not run, it is started
for this statement and stopped after.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from cli.problems import telling
from embedded.errors import EmbeddedError
from embedded.process import FolderInUse, FolderLock
from embedded.store import running_store_url, start_store
from pipeline.settings import EMBEDDED, Settings, SettingsError, load
from store.client import open_store
from store.errors import StoreError

ON_A_TERMINAL = "PrettyCompactMonoBlock"
ELSEWHERE = "TabSeparatedWithNames"
JSON = "JSONEachRow"


@click.command()
@click.argument("query")
@click.option("--format", "format_", metavar="F", help="One of ClickHouse's formats, e.g. CSVWithNames, Parquet.")
@click.option("--json", "as_json", is_flag=True, help=f"The same as --format {JSON}.")
@telling(SettingsError, EmbeddedError, StoreError)
def sql(query: str, format_: str | None, as_json: bool) -> None:
    """Ask the store. QUERY may be - to read it from stdin.

    \b
    Example:
      whipstitch sql "SELECT event_name, count() FROM events GROUP BY event_name"
    """
    if as_json and format_:
        raise click.UsageError("--json is a format: say either --json or --format")
    statement = (click.get_text_stream("stdin").read() if query == "-" else query).strip().rstrip(";")
    if not statement:
        raise click.UsageError("the query is empty")
    with store_url(load()) as url:
        chosen = JSON if as_json else format_ or default_format(url, sys.stdout.isatty())
        out = click.get_binary_stream("stdout")
        for piece in open_store(url).stream(statement, chosen):
            out.write(piece)
        out.flush()


def default_format(url: str, is_terminal: bool) -> str:
    """Over the native protocol the server writes no tables."""
    return ON_A_TERMINAL if is_terminal and url.startswith("http") else ELSEWHERE


@contextmanager
def store_url(settings: Settings) -> Iterator[str]:
    """The address of the store; while inside, it runs. Raises EmbeddedError."""
    url = running_store_url(settings.data) if settings.store == EMBEDDED else settings.store
    if url is not None:
        yield url
        return
    if not (settings.data / "store").exists():
        raise EmbeddedError(
            f"{settings.data}: no store is here; start one with `whipstitch up`, or name its folder in WHIPSTITCH_DATA"
        )
    with _nobody_else_starts_it(settings):
        started = start_store(settings.data, lambda _: None, preferred_port=None)
        try:
            yield started.url
        finally:
            started.stop()


def _nobody_else_starts_it(settings: Settings) -> FolderLock:
    """`up` may be about to, where the store has died: it must find the store's folder free."""
    try:
        return FolderLock(settings.data)
    except FolderInUse as error:
        raise EmbeddedError(
            f"{settings.data}: the store does not answer, and is up to process {error.holder} to start; "
            "ask again in a moment"
        ) from None
