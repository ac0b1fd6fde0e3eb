"""The store's answer: rows of many workloads at once in its tables, each workload under projects of its own, and what
the views then say of each.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from store.client import Row, Store
from tests.identity import model
from tests.identity.agreement import LinkRow
from tests.identity.model import Resolved
from tests.identity.pure import Delivery, deliver
from tests.identity.workloads import Workload
from tests.records import TestRecord

TABLES = {
    "events_stored": "events",
    "identity_links_stored": "links",
    "identity_edges_stored": "edges",
    "identity_persons_stored": "steps",
    "projects_stored": "projects",
}
INSERTS = 3
"""The rows of a table come by as many inserts, so that repeats stand in different parts."""


@dataclass
class Seen:
    """What the views show of one project; `who` is by messageId, `persons` of users that are not alone."""

    who: dict[str, tuple[str | None, UUID]] = field(default_factory=dict)
    written: dict[str, str | None] = field(default_factory=dict)
    raw: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    links: set[LinkRow] = field(default_factory=set)
    edges: dict[tuple[str, str, str], str] = field(default_factory=dict)
    persons: dict[str, tuple[str, str]] = field(default_factory=dict)
    conflicts: set[tuple[str, str, str | None]] = field(default_factory=set)


Views = dict[str, Seen]
"""By project."""


@dataclass(frozen=True)
class Stored:
    """A workload in the store: the ids of its projects there begin with `prefix`, which no other's do."""

    workload: Workload
    how: Delivery
    prefix: str

    def records(self) -> list[TestRecord]:
        return self.workload.records(self.prefix)

    def seen(self, views: Views) -> Views:
        """Of its projects, by their own names."""
        return {name: views.get(self.prefix + name, Seen()) for name in ("p", "q")}

    def resolved(self, as_of_ms: int | None = None) -> dict[str, Resolved]:
        """What the model says."""
        said = model.resolve(self.records(), self.workload.settings(self.prefix), as_of_ms)
        return {name: said.get(self.prefix + name, Resolved()) for name in ("p", "q")}


def put(store: Store, run: str, workloads: Iterable[tuple[Workload, Delivery]]) -> list[Stored]:
    """Deliver them all, and store what comes of it, under ids of projects that begin with `run`."""
    stored = [Stored(workload, how, f"{run}.{n}.") for n, (workload, how) in enumerate(workloads)]
    made = [deliver(each.records(), each.workload.settings(each.prefix), each.how) for each in stored]
    for table, name in TABLES.items():
        rows = [row for tables in made for row in getattr(tables, name)]
        for part in range(INSERTS):
            if rows[part::INSERTS]:
                store.insert(table, rows[part::INSERTS], str(uuid4()))
    return stored


def read_views(store: Store, run: str) -> Views:
    views: Views = defaultdict(Seen)
    for row in _rows(store, "message_id, resolved_user_id, person_id, stitched_user_id, raw", "events_resolved_v", run):
        seen, id = views[row["project_id"]], row["message_id"]
        seen.rows += 1
        seen.who[id] = row["resolved_user_id"], row["person_id"]
        seen.written[id] = row["stitched_user_id"]
        seen.raw[id] = row["raw"]
    for row in _rows(store, "*", "identity_links", run):
        views[row["project_id"]].links.add(_link(row))
    for row in _rows(store, "kind, from_user_id, to_user_id, state", "identity_edges", run):
        views[row["project_id"]].edges[row["kind"], row["from_user_id"], row["to_user_id"]] = row["state"]
    for row in _rows(store, "user_id, canonical_user_id, standing", "identity_persons", run):
        if row["standing"] != "alone":
            views[row["project_id"]].persons[row["user_id"]] = row["canonical_user_id"], row["standing"]
    for row in _rows(store, "problem, user_id, other_user_id", "identity_conflicts", run):
        views[row["project_id"]].conflicts.add((row["problem"], row["user_id"], row["other_user_id"]))
    return views


def read_as_of(store: Store, run: str, at_ms: int) -> Views:
    """Who did each event, as far as was known at that moment."""
    views: Views = defaultdict(Seen)
    moment = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    for row in _rows(
        store, "message_id, resolved_user_id, person_id", f"events_resolved_as_of(as_of = '{moment}')", run
    ):
        views[row["project_id"]].who[row["message_id"]] = row["resolved_user_id"], row["person_id"]
    return views


def read_traits(store: Store, run: str) -> dict[str, dict[UUID, dict[str, Any]]]:
    """By project and person."""
    traits: dict[str, dict[UUID, dict[str, Any]]] = defaultdict(dict)
    for row in _rows(store, "person_id, traits", "persons_v", run):
        traits[row["project_id"]][row["person_id"]] = row["traits"]
    return traits


def _rows(store: Store, columns: str, view: str, run: str) -> list[Row]:
    named = columns if columns == "*" else f"project_id, {columns}"
    return store.query(f"SELECT {named} FROM {view} WHERE startsWith(project_id, {{run:String}})", {"run": run})


def _link(row: Row) -> LinkRow:
    at_ms, received_ms = (round(row[name].timestamp() * 1000) for name in ("timestamp", "received_at"))
    return (
        row["project_id"],
        row["anonymous_id"],
        row["user_id"],
        at_ms,
        row["message_id"],
        row["kind"],
        received_ms,
    )
