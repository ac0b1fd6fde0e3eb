"""`forget`: removes a person, and says what was removed and what Kafka still keeps.

The order lets it be killed anywhere and repeated, by the same command, to the same effect: the note that a replay obeys
comes first; then the workers' state, which is told by facts that the store still has; the store last, in the order of
`store.forget`. Nothing is removed before all that was received is stored: an event under way would come after it.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Literal

import click

from broker.control import write_control
from broker.errors import BrokerError
from broker.forget import Forgetting
from cli import control
from cli.identity_tree import printable
from cli.options import max_standstill_option
from cli.output import instant, json_option, write_columns, write_json
from cli.problems import telling
from cli.stage import stage
from embedded.addresses import resolve
from embedded.errors import EmbeddedError
from pipeline.forget import NOBODY, CannotTell, Kept, Person, Step, choose, kept, tombstones
from pipeline.settings import Settings, SettingsError, load
from store.client import open_store
from store.errors import StoreError
from store.forget import Departure, drop_lists
from store.persons import Reader

# An ingress publishes an event within this time of its receipt, or answers that it could not.
IN_FLIGHT_S = 6.0

_MOST_SHOWN = 20


@click.command()
@click.argument("id_", metavar="ID")
@click.option("--project", "project_id", required=True, help="The project that the person is of.")
@click.option("--user", "kind", flag_value="user", help="ID is a user id, where it is an anonymous id too.")
@click.option("--anonymous", "kind", flag_value="anonymous", help="ID is an anonymous id, where it is a user id too.")
@click.option("--yes", is_flag=True, help="Do not ask: for scripts.")
@click.option("--dry-run", is_flag=True, help="Only count what would be removed.")
@max_standstill_option
@json_option
@telling(SettingsError, EmbeddedError, BrokerError, StoreError, CannotTell)
def forget(
    id_: str,
    project_id: str,
    kind: Literal["user", "anonymous"] | None,
    yes: bool,
    dry_run: bool,
    max_standstill_s: float,
    as_json: bool,
) -> None:
    """Remove a person: all users that are one with ID, their events, facts, ties and dead letters.

    What others did on the same anonymous ids stays. An event that comes later begins a new person. A worker must be
    running. If it is stopped half way, repeat it: it goes on.

    \b
    Example:
      whipstitch forget ann --project default
    """
    if not (yes or dry_run or sys.stdin.isatty()):
        raise click.UsageError("there is no terminal to ask whether to go on: say --yes, or --dry-run to count only")
    settings = resolve(load(), "kafka", "store")
    control.project(control.directory(settings), project_id)
    now_ms = control.now_ms()
    if not dry_run:
        asyncio.run(_wait_until_stored(settings, now_ms, max_standstill_s))
    store = open_store(settings.store)
    reader = Reader(store, project_id, now_ms)
    known = reader.known(id_)
    if known == NOBODY:
        drop_lists(store, project_id, [id_])
    person = reader.person(choose(id_, known, kind))
    departure = Departure(store, person)
    with ExitStack() as undo:
        undo.callback(departure.end)
        departure.prepare()
        counts = departure.counts()
        if dry_run:
            _report(settings, person, counts, dry_run, as_json)
            return
        if not yes:
            _ask(person, counts)
        undo.pop_all()
    removed = _remove(settings, person, departure, max_standstill_s)
    _report(settings, person, removed, dry_run, as_json)


async def _wait_until_stored(settings: Settings, now_ms: int, max_standstill_s: float) -> None:
    forgetting = Forgetting(settings, max_standstill_s, stage)
    try:
        await forgetting.start()
        await forgetting.wait_until_stored(now_ms / 1000 + IN_FLIGHT_S)
    except BrokerError as error:
        raise click.ClickException(f"{error}; nothing was removed") from error
    finally:
        await forgetting.stop()


def _ask(person: Person, counts: Mapping[str, int]) -> None:
    """Raises click's Abort where the answer is no."""
    click.echo(f"{person.project_id}: to be removed for good", err=True)
    click.echo(f"  users          {_some(person.users)}", err=True)
    click.echo(f"  anonymous ids  {_some(person.anonymous_ids)}", err=True)
    for table, count in counts.items():
        click.echo(f"  {table:<16} {count:,}", err=True)
    click.confirm("Remove this person?", abort=True, err=True)


def _remove(settings: Settings, person: Person, departure: Departure, max_standstill_s: float) -> dict[str, int]:
    try:
        # Step 1. The note that a replay obeys.
        asyncio.run(write_control(settings, tombstones(person)))
        # Step 2. The workers' state, while the store has the facts that say what is in it.
        withdrawn = asyncio.run(_taken_out(settings, person, departure, max_standstill_s))
        # Step 3. The store.
        removed = departure.remove(withdrawn, stage)
        departure.end()
    except (BrokerError, StoreError) as error:
        raise click.ClickException(f"{error}; the person is there in part: repeat the command") from error
    return removed


async def _taken_out(
    settings: Settings, person: Person, departure: Departure, max_standstill_s: float
) -> Sequence[Step]:
    forgetting = Forgetting(settings, max_standstill_s, stage)
    try:
        await forgetting.start()
        await forgetting.take_out(person, departure.edges())
        return await forgetting.withdrawn(person.project_id, departure.steps())
    finally:
        await forgetting.stop()


def _report(settings: Settings, person: Person, counts: Mapping[str, int], dry_run: bool, as_json: bool) -> None:
    keeps = kept(settings, control.now_ms())
    if as_json:
        write_json(_as_json(person, counts, keeps, dry_run))
        return
    click.echo(f"{'would remove' if dry_run else 'removed'} of {_some(person.users or person.anonymous_ids)}:")
    write_columns(("TABLE", "ROWS"), [(table, f"{count:,}") for table, count in counts.items()])
    click.echo("\nKafka keeps what was said, where nobody but a replay reads it:")
    write_columns(("TOPIC", "UNTIL"), [(each.topic, _until(each)) for each in keeps])


def _as_json(person: Person, counts: Mapping[str, int], keeps: Sequence[Kept], dry_run: bool) -> dict[str, object]:
    return {
        "project": person.project_id,
        "person_ids": [str(each) for each in person.person_ids],
        "users": person.users,
        "anonymous_ids": person.anonymous_ids,
        "forgotten_at": instant(person.forgotten_at_ms / 1000),
        "dry_run": dry_run,
        "removed": counts,
        "kafka_keeps": [
            {
                "topic": each.topic,
                "compacted": each.is_compacted,
                "until": None if each.until_ms is None else instant(each.until_ms / 1000),
            }
            for each in keeps
        ],
    }


def _until(each: Kept) -> str:
    if each.is_compacted:
        return "its next compaction"
    return "for ever" if each.until_ms is None else instant(each.until_ms / 1000)


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(printable(each) for each in ids[:_MOST_SHOWN]) or "none"
    return shown if len(ids) <= _MOST_SHOWN else f"{shown} and {len(ids) - _MOST_SHOWN} more"
