"""The tables that tell what a replay changes, the same on a terminal and on a page."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from replay.diff import Group, Report

_COUNTS: Final = ("new", "gone", "changed")
_NOBODY: Final = "(nobody known)"
_FATES: Final = {"passes": "now pass", "refused": "now refused"}


class Table(NamedTuple):
    title: str
    heading: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(report: Report) -> Iterator[Table]:
    """Those that have a row."""
    totals = [(name, *_counts(total)) for name, total in report.totals.items()]
    yield Table("all rows", ("table", *_COUNTS), totals)
    for table in _details(report):
        if table.rows:
            yield table


def _details(report: Report) -> Iterator[Table]:
    yield _groups("events", "event", report.events)
    yield Table(
        "columns that changed",
        ("project", "event", "column", "rows"),
        [(each.project_id, each.name, each.column, f"{each.rows:,}") for each in report.columns],
    )
    yield _groups("dead letters", "reason", report.letters)
    yield Table(
        "messages that are events now, or are dead letters now",
        ("project", "reason", "messages", "", "examples"),
        [
            (each.project_id, each.reason, f"{each.messages:,}", _FATES[each.fate], ", ".join(each.examples))
            for each in report.turned
        ],
    )
    yield _groups("facts that tie an anonymous id to a user", "kind", report.links)
    yield _groups("facts that tie two users", "kind", report.edges)
    persons = report.persons
    yield Table(
        f"persons that changed: {persons.persons:,}, by {persons.events:,} events that are another person's now",
        ("project", "before", "after", "events", "example"),
        [
            (move.project_id, move.before or _NOBODY, move.after or _NOBODY, f"{move.events:,}", move.message_id)
            for move in persons.moves
        ],
    )


def _groups(title: str, name: str, groups: Sequence[Group]) -> Table:
    return Table(title, ("project", name, *_COUNTS), [(each.project_id, each.name, *_counts(each)) for each in groups])


def _counts(group: Group) -> tuple[str, str, str]:
    return f"{group.new:,}", f"{group.gone:,}", f"{group.changed:,}"
