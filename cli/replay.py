"""`replay`: what was received in a stretch of time goes through today's code once more, beside what is live, to be
compared with it and exchanged for it.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import click

from broker.errors import BrokerError
from cli import control
from cli.output import instant, json_option, write_columns, write_json
from cli.problems import telling
from cli.replay_diff import diff
from cli.replay_options import of_what, range_options, replay_argument
from cli.replay_progress import progress
from cli.replay_swap import swap
from embedded.addresses import resolve
from embedded.errors import EmbeddedError
from pipeline.settings import Settings, SettingsError, load
from replay import run, state
from replay.errors import ReplayError
from replay.folder import folder_of, is_running
from replay.pace import duration, seconds_left
from replay.plan import Asked
from replay.shadow import open_shadow
from replay.state import Overrides, Replay, Status
from store.client import Store, open_store
from store.errors import StoreError
from topics.control import Policy

_RATE_HOLDS_MS = 15_000

_expected = telling(SettingsError, EmbeddedError, BrokerError, StoreError, ReplayError)


@click.group()
def replay() -> None:
    """Decide a stretch of history again by today's code, beside what is live.

    \b
    Example:
      whipstitch replay start --from 2026-01-31 --to 2026-02-01
    """


@replay.command()
@range_options
@click.option("--project", "project_id", help="Only this project.")
@click.option(
    "--source",
    "sources",
    metavar="FILE",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read a file of `whipstitch export` instead of Kafka; repeat it for several.",
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes to share the work."
)
@click.option(
    "--share",
    type=click.IntRange(1, 100),
    default=100,
    show_default=True,
    help="Percent of one core that each may use, the store's work for it included.",
)
@click.option("--dry-run", is_flag=True, help="Only count what it would come to.")
@click.option("--policy", type=click.Choice(get_args(Policy)), help="Which user an anonymous event is given to.")
@click.option("--dedupe-window", "dedupe_window_s", type=click.IntRange(60, 30 * 86400), metavar="SECONDS")
@click.option("--max-event-bytes", type=click.IntRange(1024, 512 * 1024), metavar="BYTES")
@click.option("--implicit-links/--no-implicit-links", default=None, help="Whether events with both ids tie them.")
@click.option("--public-user-edges/--no-public-user-edges", default=None, help="Whether public keys may tie users.")
@click.option("--max-users-per-anonymous-id", type=click.IntRange(1), metavar="N")
@click.option("--max-users-per-person", type=click.IntRange(1), metavar="N")
@json_option
@_expected
def start(
    from_ms: int,
    to_ms: int,
    project_id: str | None,
    sources: tuple[Path, ...],
    workers: int,
    share: int,
    dry_run: bool,
    as_json: bool,
    **overrides: object,
) -> None:
    """Begin a replay, or go on with one that was stopped, and return when it is finished. Nothing that is live is
    changed: `replay diff` shows what is different, `replay swap` makes it live.

    Settings that are given count for this replay alone.

    \b
    Example:
      whipstitch replay start --from 2026-01-31 --to 2026-02-01 --project default --policy last_wins
    """
    settings = resolve(load(), "kafka", "store")
    directory = control.directory(settings)
    if project_id is not None:
        control.project(directory, project_id)
    files = tuple(str(path.resolve()) for path in sources)
    asked = Asked(from_ms, to_ms, project_id, Overrides(**overrides), files)  # type: ignore[arg-type]
    replayer, ways = run.replayer(settings, directory, progress), run.Ways(workers, share)
    if dry_run:
        _tell_counts(replayer.count(asked, ways), as_json)
        return
    done = replayer.start(asked, ways)
    found = _found(settings, done)
    if as_json:
        write_json(found)
    else:
        click.echo(f"replay {done.id} is finished: {of_what(done)}")
        write_columns(("CAME TO", "ROWS"), _counts(found))
        if done.missing:
            click.echo(
                f"{done.missing:,} messages that are live are not in what was read any more: to swap would lose them",
                err=True,
            )
        click.echo("see what is different with `whipstitch replay diff`")


@replay.command()
@replay_argument
@json_option
@_expected
def status(replay_id: str | None, as_json: bool) -> None:
    """Say which replays there are and how far they are.

    \b
    Example:
      whipstitch replay status
    """
    settings = resolve(load(), "store")
    store = open_store(settings.store)
    there = state.replays(store, settings.store)
    shown = [state.chosen(there, replay_id)] if replay_id is not None else there
    for each in shown:
        found = _found(settings, each)
        if as_json:
            write_json(found)
        else:
            _tell_status(each, found)
    if not shown and not as_json:
        click.echo("there is no replay; `whipstitch replay start` begins one")


@replay.command()
@replay_argument
@_expected
def abort(replay_id: str | None) -> None:
    """Remove a replay with all that it has made. What is live stays as it is.

    \b
    Example:
      whipstitch replay abort
    """
    settings = resolve(load(), "store")
    store = open_store(settings.store)
    aborted = _to_abort(store, settings, replay_id)
    run.abort(settings, store, aborted)
    click.echo(f"replay {aborted} is removed")


replay.add_command(diff)
replay.add_command(swap)


def _to_abort(store: Store, settings: Settings, replay_id: str | None) -> str:
    """Also one of which no more is there than a start that was killed at once leaves."""
    ids = state.replay_ids(store, settings.store)
    if replay_id in ids:
        return str(replay_id)
    if replay_id is None and len(ids) == 1:
        return ids[0]
    return state.chosen(state.replays(store, settings.store), replay_id).id


def _found(settings: Settings, replay: Replay) -> dict[str, object]:
    """What `status` tells of a replay."""
    shadow = open_shadow(settings.store, replay.id)
    partitions = state.read_progress(shadow)
    shadow.close()
    sums = state.totals(partitions)
    total = sum(replay.ends[p] - begin for p, begin in replay.starts.items())
    now_ms = time.time_ns() // 1_000_000
    per_s = sum(each.per_s for each in partitions if now_ms - each.updated_at_ms < _RATE_HOLDS_MS)
    runs = replay.status in (Status.FILLING, Status.RUNNING)
    return {
        "replay": replay.id,
        "project": replay.project_id,
        "from": instant(replay.from_ms / 1000),
        "to": instant(replay.to_ms / 1000),
        "status": replay.status,
        "missing": replay.missing,
        "at_work": runs and is_running(folder_of(settings, replay.id)),
        "done": sums["done"],
        "total": total,
        "per_s": round(per_s) if runs else None,
        "seconds_left": seconds_left(sums["done"], total, per_s) if runs else None,
        **{name: sums[name] for name in state.COUNTS},
    }


def _tell_status(replay: Replay, found: Mapping[str, object]) -> None:
    click.echo(f"replay {replay.id}, {replay.status}: {of_what(replay)}")
    done = f"  {found['done']:,} of {found['total']:,} records read"
    if replay.status not in (Status.FILLING, Status.RUNNING):
        click.echo(done)
    elif found["at_work"]:
        left = found["seconds_left"]
        click.echo(f"{done}, {found['per_s']:,}/s, {duration(left if isinstance(left, float) else None)} left")
    else:
        click.echo(f"{done}; not at work on this machine: repeat the command that began it to go on")
    click.echo(f"  {', '.join(f'{count} {name}' for name, count in _counts(found))}")


def _tell_counts(counts: Mapping[str, int], as_json: bool) -> None:
    if as_json:
        write_json(counts)
    else:
        write_columns(("WOULD COME TO", "ROWS"), _counts(counts))


def _counts(found: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(name, f"{found[name]:,}") for name in state.COUNTS]
