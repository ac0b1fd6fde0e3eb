"""`identity show`: a person, its ids, and the messages that made it so.

Arrives: an id of a project, which may be a user's or an anonymous one. Leaves: a tree on a terminal, indented lines
elsewhere, one JSON value with --json.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import click

from cli.identity_person import Person, persons
from cli.identity_read import FOR_EVER, SIDES, Asked, Reader, Side
from cli.identity_rows import Refused
from cli.identity_tree import Branch, draw, indented, instant, person_branch, printable, refused_branch
from cli.options import moment
from cli.output import write_json
from cli.problems import telling
from cli.sql import store_url
from embedded.errors import EmbeddedError
from pipeline.blocked import is_blocked
from pipeline.settings import SettingsError, load
from store.client import open_store
from store.errors import StoreError

_NAMES: dict[Side, str] = {"user": "a user", "anonymous": "an anonymous id"}


@dataclass(frozen=True, slots=True)
class Shown:
    """The answer. `is_a` is all that the id is, whatever was chosen of it; `as_of` is None for now."""

    project_id: str
    id: str
    as_of: datetime | None
    is_a: Sequence[Side]
    persons: Sequence[Person]
    refused: Sequence[Refused]


@click.group()
def identity() -> None:
    """Who is who, and why."""


@identity.command()
@click.argument("id_", metavar="ID")
@click.option("--project", "project_id", required=True, help="The project that the id is of.")
@click.option("--as-of", metavar="T", callback=moment, help="Only by messages received until then; UTC if not said.")
@click.option("--user", "side", flag_value="user", help="Take ID as a user's, where it is an anonymous id too.")
@click.option("--anonymous", "side", flag_value="anonymous", help="Take ID as an anonymous one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
@telling(SettingsError, EmbeddedError, StoreError)
def show(id_: str, project_id: str, as_of: datetime | None, side: Side | None, as_json: bool) -> None:
    """Show a person: its users and anonymous ids, and the messages that made them one.

    \b
    Example:
      whipstitch identity show ann --project default --as-of 2026-01-31
    """
    with store_url(load()) as url:
        found = find(Reader(open_store(url), Asked(project_id, id_, as_of or FOR_EVER)), side)
    if as_json:
        write_json(found)
    else:
        _print(found)


def find(reader: Reader, side: Side | None) -> Shown:
    """The answer to what the reader asks. Raises StoreError, and click's ClickException where nothing is known."""
    asked = reader.asked
    is_a = reader.sides()
    chosen = [each for each in is_a if side in {None, each}]
    if not chosen:
        raise click.ClickException(_unknown(asked, is_a, side, reader.projects()))
    rows = reader.read(chosen)
    as_of = None if asked.as_of == FOR_EVER else asked.as_of
    return Shown(asked.project_id, asked.id, as_of, is_a, persons(rows), rows.refused)


def _unknown(asked: Asked, is_a: Sequence[Side], side: Side | None, projects: Sequence[str]) -> str:
    """What is wrong, and what to do."""
    what, where = f"{asked.id!r}", f"in project {asked.project_id!r}"
    if is_a and side:
        return f"{what} is no {side} id {where}, but {_NAMES[is_a[0]]}; leave out --{side}"
    if is_blocked(asked.id):
        return f"{what} is a placeholder that names nobody, so it is never tied to anybody; docs/identity.md lists them"
    if asked.project_id not in projects:
        there_are = ", ".join(projects) or "none yet"
        return f"nothing is stored {where}; projects with events: {there_are}; name one with --project"
    when = "" if asked.as_of == FOR_EVER else f" as of {instant(asked.as_of)}; leave out --as-of to ask of now"
    return f"nothing is known of {what} {where}{when or '; `whipstitch tail` shows the ids of events as they come'}"


def _print(found: Shown) -> None:
    head = []
    if len(found.is_a) == len(SIDES):
        head.append(Branch(printable(f"{found.id} is a user and an anonymous id; --user or --anonymous shows the one")))
    branches = [*head, *(person_branch(person) for person in found.persons)]
    if found.refused:
        branches.append(refused_branch(found.refused))
    if sys.stdout.isatty():
        draw(branches)
    else:
        click.echo("\n".join(line for branch in branches for line in indented(branch)))
