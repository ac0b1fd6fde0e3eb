"""Persons that a replay changes: events that resolve to another person on the other side, all of history.

Whose an event is follows from few rows: who owns an anonymous id, and which users are one person. Those are compared
whole, and only events of what differs there are resolved.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.forget import Stage
from replay.compare import EVENTS, SCRATCH, drop_scratch
from replay.sides import EVENTS_TABLE, Sides
from replay.slices import ROWS_AT_ONCE, slices
from store.client import Store

_OWNERS: Final = f"{SCRATCH}owners"
_IDS: Final = f"{SCRATCH}ids"
_RESOLVED: Final = f"{SCRATCH}resolved"
_MOVES: Final = f"{SCRATCH}persons"


@dataclass(frozen=True, slots=True)
class Move:
    """Events of one person that are another's on the other side. `before` and `after` are the users of the persons,
    None for a person that no user is known of."""

    project_id: str
    before: str | None
    after: str | None
    before_person_id: str
    after_person_id: str
    events: int
    message_id: str


@dataclass(frozen=True, slots=True)
class Persons:
    """How many persons have fewer or more events than before, how many events moved, and the largest moves."""

    persons: int
    events: int
    moves: tuple[Move, ...]


def find_moves(live: Store, shadow: Store, sides: Sides, stage: Stage, rows_at_once: int = ROWS_AT_ONCE) -> None:
    """Fill the scratch tables anew; that of EVENTS is there already. Raises StoreError; a repeat is safe."""
    drop_moves(shadow, sides)
    for sql in _tables(sides):
        shadow.command(sql)
    for side, store in enumerate((live, shadow)):
        store.command(f"INSERT INTO {sides.of_shadow(_OWNERS)} {_owners(side)}")
    shadow.command(f"INSERT INTO {sides.of_shadow(_IDS)} {_differing_ids(sides)}")
    concerned = _concerned(sides)
    pieces = slices(live, sides, EVENTS_TABLE, concerned, rows_at_once)
    with stage("comparing persons") as told:
        for left, piece in zip(range(len(pieces), 0, -1), pieces, strict=True):
            told(left)
            shadow.command(f"TRUNCATE TABLE {sides.of_shadow(_RESOLVED)}")
            for side, store in enumerate((live, shadow)):
                resolved = _resolved(sides, side, f"{piece.where} AND {concerned}")
                store.command(f"INSERT INTO {sides.of_shadow(_RESOLVED)} {resolved}")
            shadow.command(f"INSERT INTO {sides.of_shadow(_MOVES)} {_moved(sides)}")
        told(0)


def drop_moves(store: Store, sides: Sides) -> None:
    for name in (_OWNERS, _IDS, _RESOLVED, _MOVES):
        drop_scratch(store, sides, name)


def read_moves(store: Store, sides: Sides, most: int) -> Persons:
    moves = sides.of_shadow(_MOVES)
    [total] = store.query(
        f"SELECT sum(events) AS events, uniqExact(person) AS persons FROM "
        f"(SELECT events, arrayJoin([before.2, after.2]) AS person FROM {moves})"
    )
    rows = store.query(
        "SELECT project_id, before.1 AS was, after.1 AS is, before.2 AS was_id, after.2 AS is_id, "
        f"sum(events) AS n, min(message_id) AS example FROM {moves} "
        f"GROUP BY project_id, before, after ORDER BY n DESC, project_id, was_id, is_id LIMIT {most}"
    )
    return Persons(
        persons=int(total["persons"]),
        events=int(total["events"]) // 2,
        moves=tuple(
            Move(
                project_id=row["project_id"],
                before=row["was"],
                after=row["is"],
                before_person_id=str(row["was_id"]),
                after_person_id=str(row["is_id"]),
                events=row["n"],
                message_id=row["example"],
            )
            for row in rows
        ),
    )


def _tables(sides: Sides) -> Iterator[str]:
    person = "Tuple(Nullable(String), UUID)"
    columns = {
        _OWNERS: "id UUID, hash UInt64, side UInt8",
        _IDS: "id UUID",
        _RESOLVED: f"project_id String, message_id String, person {person}, side UInt8",
        _MOVES: f"project_id String, before {person}, after {person}, events UInt64, message_id String",
    }
    for name, written in columns.items():
        yield f"CREATE TABLE {sides.of_shadow(name)} ({written}) ENGINE = MergeTree ORDER BY tuple()"


# The views that take a parameter are found in the database of the connection, whatever a query calls them, so each side
# is asked over its own. The moment is not the last there is: for that one some ids are left out, as squashed.
_NOW: Final = "'2299-12-31 23:59:59.998'"
_MOMENTS: Final = f"(as_of = {_NOW}, persons_as_of = {_NOW})"


def _owners(side: int) -> str:
    """Who owns what an event goes by: a hash for each anonymous id and each user that is another's person."""
    return (
        f"SELECT own_person_id, sipHash64(person_id), {side} FROM sole_owners_as_of{_MOMENTS} "
        f"UNION ALL SELECT anonymous_person_id, sipHash64(since, toString(steps)), {side} "
        f"FROM anonymous_id_owners_as_of{_MOMENTS}"
    )


def _differing_ids(sides: Sides) -> str:
    return (
        f"SELECT id FROM {sides.of_shadow(_OWNERS)} GROUP BY id "
        "HAVING sumIf(hash, side = 0) != sumIf(hash, side = 1) SETTINGS max_bytes_before_external_group_by = 268435456"
    )


def _concerned(sides: Sides) -> str:
    """Events that go by such an id, and events that themselves differ."""
    return (
        f"(own_person_id IN (SELECT id FROM {sides.of_shadow(_IDS)}) OR (project_id, message_id) IN "
        f"(SELECT project_id, message_id FROM {sides.of_shadow(EVENTS.scratch)} "
        "WHERE hasAny(columns, ['user_id', 'anonymous_id', 'timestamp'])))"
    )


def _resolved(sides: Sides, side: int, condition: str) -> str:
    keys = " UNION DISTINCT ".join(
        f"SELECT project_id, message_id FROM {name} WHERE {condition}"
        for name in (sides.of_live(EVENTS_TABLE.stored), sides.of_shadow(EVENTS_TABLE.stored))
    )
    return (
        f"SELECT project_id, message_id, (resolved_user_id, assumeNotNull(person_id)), {side} FROM events_resolved_v "
        f"WHERE (project_id, message_id) IN ({keys})"
    )


def _moved(sides: Sides) -> str:
    pairs = (
        "SELECT project_id, message_id, anyIf(person, side = 0) AS before, anyIf(person, side = 1) AS after "
        f"FROM {sides.of_shadow(_RESOLVED)} GROUP BY project_id, message_id "
        "HAVING uniqExact(side) = 2 AND before.2 != after.2"
    )
    return (
        "SELECT project_id, before, after, count() AS events, min(message_id) AS message_id "
        f"FROM ({pairs}) GROUP BY project_id, before, after"
    )
