"""`dead-letters list|show|retry|drop`: what was refused, whole, back to where it came from, or gone.

`retry` writes the record that was refused again, as it was, to the topic that it stood in, and once Kafka has it takes
the letter out of the store. It does so in this order because a letter that is tried twice does no harm (an event that
is stored already is dropped as a duplicate), and one that is tried not at all is lost. It takes the letter away rather
than mark it because the list is of what is still to do: one that is refused again comes back with its new place, and
what it was is in `events.rejected` as long as that topic keeps it.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import click

from broker.errors import BrokerError
from broker.producer import DurableProducer
from broker.scan import scanner
from cli.letter_output import as_json, columns, letter_text, table
from cli.options import moment
from cli.output import json_option, write_columns, write_json
from cli.problems import telling
from cli.progress import Advance, progress
from cli.sql import store_url
from embedded.addresses import resolve
from embedded.errors import EmbeddedError
from pipeline.settings import Settings, SettingsError, load
from store import dead_letters as letters
from store.client import Store, open_store
from store.dead_letters import Chosen, Letter, Place, Span
from store.errors import StoreError
from topics.keys import partition_of
from topics.names import RAW, TOPICS, Cleanup
from topics.records import Record
from topics.rejected import Reason

AT_ONCE = 1000

_COMPACTED = frozenset(topic.name for topic in TOPICS if topic.cleanup is Cleanup.COMPACT)
_Command = TypeVar("_Command", bound=Callable[..., object])


@click.group("dead-letters")
def dead_letters() -> None:
    """Events that were refused: see why, try them again, or drop them."""


def _place(ctx: click.Context, param: click.Parameter, value: str) -> Place:
    topic, _, rest = value.partition(":")
    partition, _, offset = rest.partition(":")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise click.BadParameter(f"{value!r}; write it as `whipstitch dead-letters list` does: TOPIC:PARTITION:OFFSET")
    return Place(topic, int(partition), int(offset))


def _choosing(command: _Command) -> _Command:
    """The options that say which letters are meant."""
    for option in (
        click.option("--to", "until", metavar="T", callback=moment, help="Refused before then."),
        click.option("--from", "since", metavar="T", callback=moment, help="Refused then or later; UTC if not said."),
        click.option(
            "--reason", type=click.Choice([reason.value for reason in Reason]), help="Refused for this reason."
        ),
        click.option("--project", "project_id", help="Of this project."),
    ):
        command = option(command)
    return command


@dead_letters.command("list")
@_choosing
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@json_option
@telling(SettingsError, EmbeddedError, StoreError)
def list_letters(limit: int, as_json: bool, **choice: object) -> None:
    """List dead letters, the newest first.

    \b
    Example:
      whipstitch dead-letters list --project default --reason missing_id
    """
    with store_url(load()) as url:
        found = letters.newest(open_store(url), _chosen(choice), limit)
    if as_json:
        _write_json(found)
    elif sys.stdout.isatty():
        table(found)
    else:
        write_columns(*columns(found))


@dead_letters.command()
@click.argument("place", metavar="ID", callback=_place)
@click.option("--raw", is_flag=True, help="The refused bytes alone, as they were, for a file or a pipe.")
@json_option
@telling(SettingsError, EmbeddedError, StoreError)
def show(place: Place, raw: bool, as_json: bool) -> None:
    """Show all of one dead letter: why, where, key, headers, and the bytes as they were. ID is what `list` prints.

    \b
    Example:
      whipstitch dead-letters show events.raw:3:1027
    """
    if raw and as_json:
        raise click.UsageError("--raw gives the bytes alone: say either --raw or --json")
    with store_url(load()) as url:
        found = letters.letters_at(open_store(url), place)
    if not found:
        name = ":".join(map(str, place))
        raise click.ClickException(f"no dead letter {name}; `whipstitch dead-letters list` shows those there are")
    if raw:
        sys.stdout.buffer.write(found[0].value)
    elif as_json:
        _write_json(found)
    else:
        click.echo("\n\n".join(map(letter_text, found)))


@dead_letters.command()
@_choosing
@json_option
@telling(SettingsError, EmbeddedError, BrokerError, StoreError)
def retry(as_json: bool, **choice: object) -> None:
    """Try dead letters again: put the records back as they were, and take their letters off the list.

    What is stored by now is not stored twice. What is refused again comes back to the list with its new place.
    Letters of step `link` stay: their events are stored, only what ties two ids was refused.

    \b
    Example:
      whipstitch dead-letters retry --project default --reason too_large --from 2026-01-31
    """
    settings = resolve(load(), "kafka", "store")
    store, chosen = open_store(settings.store), _chosen(choice)
    all_letters = sum(span.letters for span in letters.spans(store, chosen))
    found = letters.spans(store, chosen, to_retry=True)
    to_retry = sum(span.letters for span in found)
    with progress("trying again", to_retry) as advance:
        retried = asyncio.run(_retry(settings, store, chosen, found, advance))
    if as_json:
        write_json({"retried": retried.letters, "kept": all_letters - to_retry, "superseded": len(retried.superseded)})
        return
    click.echo(f"{retried.letters} put back to be tried again")
    if all_letters > to_retry:
        click.echo(f"{all_letters - to_retry} left: of step link, whose events are stored")
    for place in retried.superseded:
        click.echo(f"{':'.join(map(str, place))} left: a later record has taken its place; drop it")


@dead_letters.command()
@_choosing
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@telling(SettingsError, EmbeddedError, StoreError)
def drop(yes: bool, as_json: bool, **choice: object) -> None:
    """Take dead letters off the list for good, and their content out of the store.

    A note of which messages they were stays, for `whipstitch audit`; the topic events.rejected keeps the records until
    its retention ends.

    \b
    Example:
      whipstitch dead-letters drop --project default --reason unknown_type --to 2026-01-31
    """
    if not (yes or sys.stdin.isatty()):
        raise click.UsageError("there is no terminal to confirm on: say --yes")
    chosen = _chosen(choice)
    with store_url(load()) as url:
        store = open_store(url)
        found = letters.spans(store, chosen)
        dropped = sum(span.letters for span in found)
        if dropped and not yes:
            click.confirm(f"Drop {dropped} dead letter{'s' if dropped != 1 else ''}?", abort=True, err=True)
        with progress("dropping", dropped) as advance:
            for span in found:
                letters.drop(store, chosen, span)
                advance(span.letters)
    if as_json:
        write_json({"dropped": dropped})
    else:
        click.echo(f"{dropped} dropped")


@dataclass(slots=True)
class _Retried:
    letters: int = 0
    superseded: list[Place] = field(default_factory=list)


async def _retry(settings: Settings, store: Store, chosen: Chosen, spans: Sequence[Span], advance: Advance) -> _Retried:
    retried = _Retried()
    producer = DurableProducer(settings)
    try:
        await producer.start()
        for span in spans:
            count = await producer.partitions(span.topic)
            for found in letters.letters_to_retry(store, chosen, span, AT_ONCE):
                old = await _superseded(settings, span, found) if span.topic in _COMPACTED else set()
                retried.superseded += sorted(old)
                current = [letter for letter in found if letter.place not in old]
                # Step 1. Kafka has the records.
                for partition, records in _by_partition(current, count).items():
                    await producer.send(span.topic, partition, records)
                # Step 2. Only then are their letters removed.
                if current:
                    letters.remove_retried(store, span, [letter.place.offset for letter in current])
                retried.letters += len(current)
                advance(len(found))
    finally:
        await producer.stop()
    return retried


def _by_partition(found: Iterable[Letter], count: int) -> dict[int, list[Record]]:
    """The refused records by where they go: clients' to where their key goes now, all others to where they stood."""
    records: dict[int, list[Record]] = {}
    for letter in found:
        place = letter.place
        partition = partition_of(letter.key, count) if place.topic == RAW and letter.key else place.partition
        at_ms = round(letter.rejected_at.timestamp() * 1000)
        record = (letter.key or None, letter.value, at_ms, tuple(letter.headers.items()))
        records.setdefault(partition, []).append(record)
    return records


async def _superseded(settings: Settings, span: Span, found: Sequence[Letter]) -> set[Place]:
    """Of letters from a compacted topic, where the last record of a key counts: those that have a later one."""
    by_key = {letter.key: letter.place for letter in found}
    later: set[Place] = {letter.place for letter in found if by_key[letter.key] != letter.place}
    async with scanner(settings) as scan:
        start = max(found[0].place.offset + 1, (await scan.starts(span.topic))[span.partition])
        ends = await scan.ends(span.topic)
        async for records in scan.read(span.topic, {span.partition: start}, ends):
            for record in records:
                place = by_key.get(record.key or b"")
                if place is not None and record.offset > place.offset:
                    later.add(place)
    return later


def _chosen(choice: dict[str, object]) -> Chosen:
    return Chosen(**choice)  # type: ignore[arg-type]


def _write_json(found: Iterable[Letter]) -> None:
    for letter in found:
        write_json(as_json(letter))
