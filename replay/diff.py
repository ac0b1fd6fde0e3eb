"""What a replay changes, as a report: counts by project and event name, by column, and samples.

Arrives: the two sides of a replay that has ended. Leaves: a `Report`, whose size is bounded however much differs. The
live side may go on meanwhile: only what lies in the replay's range is compared, and that no longer changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pipeline.forget import Stage
from replay.compare import COMPARISONS, EDGES, EVENTS, LETTERS, LINKS, Comparison, compare, drop_scratch
from replay.moves import Persons, drop_moves, find_moves, read_moves
from replay.samples import Sample, read_samples
from replay.sides import Sides
from replay.slices import ROWS_AT_ONCE
from store.client import Store

Fate = Literal["passes", "refused"]
_MOST_GROUPS: Final = 1000
_MOST_MOVES: Final = 50


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one project with one name: an event's name, a dead letter's reason, a fact's kind."""

    project_id: str
    name: str
    new: int
    gone: int
    changed: int


@dataclass(frozen=True, slots=True)
class ColumnChange:
    project_id: str
    name: str
    column: str
    rows: int


@dataclass(frozen=True, slots=True)
class Turned:
    """Messages of one project: dead letters for this reason that are events now (`passes`), or events that are dead
    letters now (`refused`)."""

    project_id: str
    reason: str
    fate: Fate
    messages: int
    examples: Sequence[str]


@dataclass(frozen=True, slots=True)
class Report:
    """Groups beyond a thousand are left out, the smallest ones; `totals` by table count all rows."""

    totals: dict[str, Group]
    events: Sequence[Group]
    columns: Sequence[ColumnChange]
    samples: Sequence[Sample]
    letters: Sequence[Group]
    turned: Sequence[Turned]
    links: Sequence[Group]
    edges: Sequence[Group]
    persons: Persons

    @property
    def is_empty(self) -> bool:
        return not (self.persons.events or any(each.new + each.gone + each.changed for each in self.totals.values()))


def diff(
    live: Store, shadow: Store, sides: Sides, stage: Stage, samples_each: int = 3, rows_at_once: int = ROWS_AT_ONCE
) -> Report:
    """Compare both sides, and leave nothing behind. `live` and `shadow` are the stores of the two databases.

    Raises StoreError; a repeat is safe.
    """
    try:
        for comparison in COMPARISONS:
            compare(shadow, sides, comparison, stage, rows_at_once)
        find_moves(live, shadow, sides, stage, rows_at_once)
        return _report(shadow, sides, samples_each)
    finally:
        drop_moves(shadow, sides)
        for comparison in COMPARISONS:
            drop_scratch(shadow, sides, comparison.scratch)


def _report(store: Store, sides: Sides, samples_each: int) -> Report:
    return Report(
        totals={each.table.shown: _total(store, sides, each) for each in COMPARISONS},
        events=_groups(store, sides, EVENTS),
        columns=_columns(store, sides),
        samples=read_samples(store, sides, EVENTS, samples_each),
        letters=_groups(store, sides, LETTERS),
        turned=[*_turned(store, sides, "passes"), *_turned(store, sides, "refused")],
        links=_groups(store, sides, LINKS),
        edges=_groups(store, sides, EDGES),
        persons=read_moves(store, sides, _MOST_MOVES),
    )


_COUNTS: Final = "countIf(kind = 'new') AS new, countIf(kind = 'gone') AS gone, countIf(kind = 'changed') AS changed"


def _total(store: Store, sides: Sides, comparison: Comparison) -> Group:
    [row] = store.query(f"SELECT '' AS project_id, '' AS name, {_COUNTS} FROM {sides.of_shadow(comparison.scratch)}")
    return Group(**row)


def _groups(store: Store, sides: Sides, comparison: Comparison) -> list[Group]:
    rows = store.query(
        f"SELECT project_id, name, {_COUNTS} FROM {sides.of_shadow(comparison.scratch)} "
        f"GROUP BY project_id, name ORDER BY count() DESC, project_id, name LIMIT {_MOST_GROUPS}"
    )
    return [Group(**row) for row in sorted(rows, key=lambda row: (row["project_id"], row["name"]))]


def _columns(store: Store, sides: Sides) -> list[ColumnChange]:
    rows = store.query(
        f"SELECT project_id, name, arrayJoin(columns) AS column, count() AS rows "
        f"FROM {sides.of_shadow(EVENTS.scratch)} GROUP BY project_id, name, column "
        f"ORDER BY rows DESC, project_id, name, column LIMIT {_MOST_GROUPS}"
    )
    return [ColumnChange(**row) for row in sorted(rows, key=lambda row: (row["project_id"], row["name"]))]


def _turned(store: Store, sides: Sides, fate: Fate) -> list[Turned]:
    """By the letters that differ. A letter of step `link` stands beside its event on either side."""
    kind, events = {"passes": ("gone", sides.of_shadow), "refused": ("new", sides.of_live)}[fate]
    rows = store.query(
        "SELECT project_id, name AS reason, uniqExact(message_id) AS messages, "
        f"arraySort(groupUniqArray(3)(message_id)) AS examples FROM {sides.of_shadow(LETTERS.scratch)} "
        f"WHERE kind = '{kind}' AND step != 'link' AND (project_id, message_id) IN "
        f"(SELECT project_id, message_id FROM {events(EVENTS.table.stored)} WHERE {sides.inside(EVENTS.table)}) "
        "GROUP BY project_id, reason ORDER BY project_id, reason"
    )
    return [Turned(fate=fate, **row) for row in rows]
