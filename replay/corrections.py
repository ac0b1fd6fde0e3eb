"""What the live workers have to be told once a replay's tables are live: which of the facts that they know are none,
and which they lack.

Arrives: both sides after the exchange, the live one with what holds now. Leaves: corrections, in pieces of bounded
size. They follow from the tables alone, so that a swap that was killed finds the same again.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.forget import Outgoing, Stage
from replay.compare import EDGES, LINKS, Comparison, compare, drop_scratch
from replay.sides import Sides
from store.client import Row, Store
from store.facts import edge_of, link_of
from topics import edges
from topics.edges import EdgeFact
from topics.keys import partition_of
from topics.orders import Correct, order_record
from topics.records import Record

_ROWS_AT_ONCE: Final = 20_000


@dataclass(frozen=True, slots=True)
class EdgeCorrection:
    """For the merge agent: facts that go, and facts that come."""

    withdrawn: Sequence[EdgeFact]
    added: Sequence[EdgeFact]


@dataclass(frozen=True, slots=True)
class Corrections:
    """What there is to correct. Reading it again finds the same, until `end`."""

    store: Store
    sides: Sides

    def find(self, stage: Stage) -> None:
        """Compare the facts of both sides. Raises StoreError; a repeat is safe."""
        for comparison in (LINKS, EDGES):
            compare(self.store, self.sides, comparison, stage)

    def owners(self) -> Iterator[Correct]:
        columns = "project_id, anonymous_id, message_id, user_id, timestamp, kind, received_at"
        for rows in self._pieces(LINKS, columns, "cityHash64(project_id, anonymous_id)", "project_id, anonymous_id"):
            for (project_id, anonymous_id), facts in _grouped(rows):
                yield Correct(
                    project_id,
                    anonymous_id,
                    tuple((row["timestamp"].timestamp(), row["message_id"]) for row in facts if row["was"]),
                    tuple(link_of(row) for row in facts if not row["was"]),
                )

    def edges(self) -> Iterator[EdgeCorrection]:
        columns = "project_id, message_id, kind, action, from_user_id, to_user_id, timestamp, received_at"
        for rows in self._pieces(EDGES, columns, "cityHash64(project_id, message_id)", "project_id, message_id"):
            yield EdgeCorrection(
                withdrawn=[edge_of(row) for row in rows if row["was"]],
                added=[edge_of(row) for row in rows if not row["was"]],
            )

    def end(self) -> None:
        for comparison in (LINKS, EDGES):
            drop_scratch(self.store, self.sides, comparison.scratch)

    def _pieces(self, comparison: Comparison, columns: str, hash_: str, order: str) -> Iterator[list[Row]]:
        """Differing rows of both sides, those of one hash in one piece."""
        scratch, key = self.sides.of_shadow(comparison.scratch), ", ".join(comparison.table.key)
        [total] = self.store.query(f"SELECT count() AS n FROM {scratch}")
        pieces = -(-int(total["n"]) // _ROWS_AT_ONCE)
        for piece in range(pieces):
            where = f"({key}) IN (SELECT {key} FROM {scratch} WHERE {hash_} % {pieces} = {piece})"
            where = f"{self.sides.inside(comparison.table)} AND {where}"
            names = (self.sides.of_live(comparison.table.stored), self.sides.of_shadow(comparison.table.stored))
            rows = " UNION ALL ".join(
                f"SELECT {columns}, {was} AS was FROM {name} FINAL WHERE {where}" for was, name in enumerate(names)
            )
            yield self.store.query(f"SELECT * FROM ({rows}) ORDER BY {order}, was, timestamp")


def orders(corrections: Iterable[Correct], partitions: int, now_ms: int) -> Outgoing:
    """For `events.raw`, each on the partition of its anonymous id."""
    outgoing: Outgoing = {}
    for correction in corrections:
        record = order_record(correction, now_ms)
        outgoing.setdefault(partition_of(record[0] or b"", partitions), []).append(record)
    return outgoing


def withdrawals(corrections: EdgeCorrection, partitions: int, now_ms: int) -> Outgoing:
    """Tombstones for `identity.merges`. They come before what is added: a fact may go and come under one key."""
    return _by_partition(
        ((fact, (edges.record_key(fact), None, now_ms, ())) for fact in corrections.withdrawn), partitions
    )


def additions(corrections: EdgeCorrection, partitions: int, now_ms: int) -> Outgoing:
    """Facts for `identity.merges`."""
    return _by_partition(
        ((fact, (edges.record_key(fact), edges.encode(fact), now_ms, ())) for fact in corrections.added), partitions
    )


def _by_partition(records: Iterator[tuple[EdgeFact, Record]], partitions: int) -> Outgoing:
    outgoing: Outgoing = {}
    for fact, record in records:
        outgoing.setdefault(partition_of(fact.project_id.encode(), partitions), []).append(record)
    return outgoing


def _grouped(rows: Sequence[Row]) -> Iterator[tuple[tuple[str, str], list[Row]]]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["project_id"], row["anonymous_id"]), []).append(row)
    yield from groups.items()
