"""`ingress`, `worker` and `store`: one part in the foreground, as production runs it and as `up` starts it.

Each ends with the exit code of its part. The hidden options are what `up` and health checks go by.
"""

import os
import signal
import time
from pathlib import Path

import click

from broker.errors import BrokerError
from cli.problems import telling
from embedded.addresses import resolve
from embedded.errors import EmbeddedError
from embedded.process import last_lines
from embedded.store import start_store
from pipeline.settings import SettingsError, load
from store.errors import StoreError

POLL_S = 0.02

_start_file = click.option(
    "--start-file", type=click.Path(path_type=Path), hidden=True, help="Load everything, then wait for this file."
)


@click.command()
@_start_file
@telling(SettingsError, EmbeddedError, BrokerError)
def ingress(start_file: Path | None) -> None:
    """Run the HTTP ingress. SIGTERM and Ctrl-C drain it.

    \b
    Example:
      WHIPSTITCH_KAFKA=kafka-1:9092 WHIPSTITCH_HOST=0.0.0.0 whipstitch ingress
    """
    settings = load()
    from ingress.server import run

    _wait_for(start_file)
    raise SystemExit(run(resolve(settings, "kafka")))


@click.command()
@_start_file
@click.option(
    "--ready-file", type=click.Path(path_type=Path), hidden=True, help="Write this file once events are taken."
)
@telling(SettingsError, EmbeddedError, BrokerError, StoreError)
def worker(start_file: Path | None, ready_file: Path | None) -> None:
    """Run one worker: stitch events, and store them. Start as many as there are partitions, at most.

    \b
    Example:
      WHIPSTITCH_KAFKA=kafka-1:9092 WHIPSTITCH_STORE=clickhouse://user:password@host:9000/db whipstitch worker
    """
    settings = load()
    if ready_file:
        ready_file.unlink(missing_ok=True)
    from agents.worker import run

    _wait_for(start_file)
    raise SystemExit(run(resolve(settings, "kafka", "store"), ready_file))


@click.command()
@telling(SettingsError, EmbeddedError)
def store() -> None:
    """Run the embedded store on its own; it speaks ClickHouse's HTTP interface on the loopback address.

    \b
    Example:
      whipstitch store
    """
    settings = load()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    running = start_store(settings.data, lambda says: click.echo(says, err=True))
    try:
        click.echo(f"ready {running.url}")
        code = running.process.wait()
    except KeyboardInterrupt:
        running.stop()
        return
    running.stop()
    log_file = settings.data / "logs" / "store.log"
    raise EmbeddedError(f"store: ended with code {code}; its log is {log_file}, and ends:\n{last_lines(log_file)}")


def _wait_for(start_file: Path | None) -> None:
    """Wait for the file, or end with the parent, who alone would have written it."""
    parent = os.getppid()
    while start_file and not start_file.exists():
        if os.getppid() != parent:
            raise SystemExit(0)
        time.sleep(POLL_S)
