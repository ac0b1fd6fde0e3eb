"""Takes a person out of the store.

Arrives: a `Person`. Leaves: tables without a row that is theirs or that ties one of their users. Rows are deleted from
the stored tables by key, repeats and all; they are off the disk once ClickHouse drops the parts that they were in, some
minutes later.

What is to go is listed first, in a scratch table: its events are those that *resolve* to the person, which only the
facts tell; and the mutations, which a store remembers for a while, then name nobody. A removal that was killed is
repeated by asking for the same id again. It must find what is left by that id alone, and hence the order:

1. dead letters: some are the person's only by the message id of an event that is there;
2. events: they are found through all the facts. Others' events lose the name that the worker gave them for the time
   being, where it is one of the users';
3. facts, but those of the anonymous id that was asked for;
4. other users' steps: they are found through the edges;
5. edges;
6. the users' own steps, which make one person of them;
7. the facts of the anonymous id that was asked for, which lead to a user.

What was received after the person was forgotten is not touched.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import uuid4

from pipeline.forget import Edge, Person, Stage, Step
from pipeline.reserved import ALIAS, MERGE, UNALIAS, UNMERGE
from store import squash
from store.client import Store
from store.mutations import mutate, wait

_SCRATCH: Final = "forget_"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIES: Final = ALIAS, UNALIAS, MERGE, UNMERGE
_THEN: Final = "project_id = {project:String} AND received_at <= {then:DateTime64(3, 'UTC')}"


class Table(NamedTuple):
    """A table, what people call it, and what tells its rows apart but for repeats."""

    name: str
    shown: str
    key: str


class Tables(NamedTuple):
    """The tables that a person is taken out of, and the views that resolve them: those that are read, or others of the
    same make, such as a replay fills."""

    events: Table = Table("events_stored", "events", "message_id")
    letters: Table = Table(
        "rejected_events_stored", "rejected_events", "source_topic, source_partition, source_offset, step, reason"
    )
    links: Table = Table("identity_links_stored", "identity_links", "message_id, anonymous_id")
    edges: Table = Table("identity_edges_stored", "identity_edges", "message_id")
    persons: Table = Table("identity_persons_stored", "identity_persons", "user_id, since")
    resolved: str = "events_resolved_as_of"
    members: str = "identity_persons_as_of"


LIVE: Final = Tables()


class _Removal(NamedTuple):
    table: Table
    where: str


class Departure:
    """One person on their way out: `prepare`, then `remove`, then `end`, which also undoes a `prepare` alone. Every
    method raises StoreError; all of it can be repeated from the beginning."""

    def __init__(self, store: Store, person: Person, tables: Tables = LIVE) -> None:
        self._store = store
        self._person = person
        self._tables = tables
        self._scratch = f"{_SCRATCH}{person.person_ids[0].hex}"
        self._params = {"project": person.project_id, "then": instant(person.forgotten_at_ms)}

    def prepare(self) -> None:
        """List what is to go. Changes nothing that anybody reads."""
        self._store.command(
            f"CREATE OR REPLACE TABLE {self._scratch} (kind String, id String, since_ms Int64, version UInt64) "
            "ENGINE = MergeTree ORDER BY (kind, id)"
        )
        self._list("project", ((self._person.project_id, 0, 0),))
        self._list("person", ((str(each), 0, 0) for each in self._person.person_ids))
        self._list("user", ((user_id, 0, 0) for user_id in self._person.users))
        self._list("anonymous", ((anonymous_id, 0, 0) for anonymous_id in self._person.anonymous_ids))
        self._list("asked", ((self._person.asked_for, 0, 0),) if self._person.asked_for else ())
        for kind, select in self._found():
            self._command(f"INSERT INTO {self._scratch} (kind, id) SELECT DISTINCT '{kind}', id FROM ({select})")

    def counts(self) -> dict[str, int]:
        """How many rows are to go, by what people call their table. After `prepare`."""
        counts = {table.shown: 0 for table, _ in self._removals()}
        for table, where in self._removals():
            counts[table.shown] += self._count(table, where)
        return counts

    def edges(self) -> list[Edge]:
        """The facts that tie or part one of the users. After `prepare`."""
        sql = f"SELECT message_id, toUnixTimestamp64Milli(received_at) AS at FROM {self._tables.edges.name}"
        rows = self._store.query(f"{sql} WHERE {self._naming_edges()}", self._params)
        return [Edge(str(row["message_id"]), int(row["at"])) for row in rows]

    def steps(self) -> list[Step]:
        """The steps of the users, and of all that an edge ties or tied to them. After `prepare`."""
        table, users = self._tables.persons.name, self._listed("user")
        neighbours = f"SELECT arrayJoin([from_user_id, to_user_id]) FROM {self._tables.edges.name}"
        rows = self._store.query(
            f"SELECT user_id, toUnixTimestamp64Milli(since) AS since_ms, version FROM {table} "
            "WHERE project_id = {project:String} AND "
            f"(user_id IN {users} OR user_id IN ({neighbours} WHERE {self._naming_edges()}))",
            self._params,
        )
        return [Step(str(row["user_id"]), int(row["since_ms"]), int(row["version"])) for row in rows]

    def remove(self, withdrawn: Iterable[Step], stage: Stage) -> dict[str, int]:
        """Delete what is listed, and those of `steps` that no longer hold. A stage hears how many parts of a table are
        still to be written anew. Returns the number of rows by what people call their table."""
        self._list("step", withdrawn)
        removed = {table.shown: 0 for table, _ in self._removals()}
        for table, where in self._removals():
            removed[table.shown] += self._mutated(table, "DELETE", where, stage)
            if table is self._tables.events:
                self._unname_others(stage)
        self._discard_squash()  # again: one that ran meanwhile may have gone by facts that are gone now
        return removed

    def end(self) -> None:
        """Drop the list, and what earlier attempts at the same person left."""
        person = self._person
        drop_lists(self._store, person.project_id, [*person.users, *person.person_ids], self._tables)

    def _unname_others(self, stage: Stage) -> None:
        """Take the users' names from events that were thought to be theirs, and are not."""
        self._discard_squash()
        events, users = self._tables.events, self._listed("user")
        of_project = "project_id = {project:String}"
        written = f"{of_project} AND ifNull(stitched_user_id, '') IN {users}"
        self._mutated(events, "UPDATE stitched_user_id = NULL", written, stage)
        squashed = f"{of_project} AND ifNull(squashed_user_id, '') IN {users}"
        nobody = "squashed_terms = 0, squashed_user_id = NULL, squashed_person_id = toUUIDOrZero('')"
        self._mutated(events, f"UPDATE {nobody}", squashed, stage)

    def _discard_squash(self) -> None:
        """Without the facts that it went by, what was squashed may be another's."""
        if self._tables == LIVE:
            squash.discard(self._store, self._person.project_id)

    def _found(self) -> Iterator[tuple[str, str]]:
        """What is listed by what is there: a kind, and a query for its ids. Later ones build on those before."""
        users, tables = self._listed("user"), self._tables
        others = f"user_id IS NOT NULL AND user_id NOT IN {users}"
        yield (
            "sole",
            f"SELECT id FROM {self._scratch} WHERE kind = 'anonymous' AND id NOT IN "
            f"(SELECT anonymous_id FROM {tables.links.name} WHERE project_id = {{project:String}} AND {others})",
        )
        yield "key", f"SELECT concat({{project:String}}, '|u:', id) AS id FROM {self._scratch} WHERE kind = 'user'"
        yield "key", f"SELECT concat({{project:String}}, '|a:', id) AS id FROM {self._scratch} WHERE kind = 'sole'"
        persons = ", ".join(f"'{each}'" for each in self._person.person_ids)
        yield (
            "message",
            f"SELECT message_id AS id FROM {tables.resolved}(as_of = {{then:DateTime64(3, 'UTC')}}) "
            f"WHERE project_id = {{project:String}} AND person_id IN ({persons}) "
            # No other event can be theirs: to say so halves the time.
            f"AND (user_id IN {users} OR anonymous_id IN {self._listed('anonymous')})",
        )
        yield "tie", f"SELECT message_id AS id FROM {tables.edges.name} WHERE {self._naming_edges()}"
        # Those that were refused made no edge, and name the users all the same.
        said = "toJSONString(properties)"
        named = f"JSONExtract({said}, '$distinct_ids', 'Array(String)')"
        named = f"arrayPushBack({named}, JSONExtract({said}, 'previousId', 'String'))"
        yield (
            "tie",
            f"SELECT message_id AS id FROM {tables.events.name} PREWHERE event_name IN {_TIES} WHERE {_THEN} "
            f"AND hasAny({named}, (SELECT groupArray(id) FROM {self._scratch} WHERE kind = 'user'))",
        )

    def _removals(self) -> Iterator[_Removal]:
        tables, users, messages, ties = self._tables, *map(self._listed, ("user", "message", "tie"))
        sole, asked, keys = map(self._listed, ("sole", "asked", "key"))
        yield _Removal(
            tables.letters,
            "project_id = {project:String} AND rejected_at <= {then:DateTime64(3, 'UTC')} AND "
            f"(ifNull(user_id, '') IN {users} OR record_key IN {keys} "
            f"OR ifNull(message_id, '') IN {messages} OR ifNull(message_id, '') IN {ties} "
            f"OR (user_id IS NULL AND ifNull(anonymous_id, '') IN {sole}))",
        )
        yield _Removal(
            tables.events,
            f"{_THEN} AND (message_id IN {messages} OR message_id IN {ties} OR ifNull(user_id, '') IN {users})",
        )
        # A message that ties one of the users to another may also say whose its own anonymous id is: that stays.
        facts = (
            f"{_THEN} AND (ifNull(user_id, '') IN {users} OR (kind = 'reset' AND anonymous_id IN {sole}) "
            f"OR (kind != 'reset' AND message_id IN {messages}) OR (anonymous_id IN {users} AND message_id IN {ties}))"
        )
        yield _Removal(tables.links, f"{facts} AND anonymous_id NOT IN {asked}")
        steps = self._steps_to_go()
        yield _Removal(tables.persons, f"{steps} AND user_id NOT IN {users}")
        yield _Removal(tables.edges, self._naming_edges())
        yield _Removal(tables.persons, f"{steps} AND user_id IN {users}")
        yield _Removal(tables.links, f"{facts} AND anonymous_id IN {asked}")

    def _steps_to_go(self) -> str:
        users = self._listed("user")
        return (
            "project_id = {project:String} AND "
            "((user_id, toUnixTimestamp64Milli(since), version) IN "
            f"(SELECT id, since_ms, version FROM {self._scratch} WHERE kind = 'step') "
            "OR (since <= {then:DateTime64(3, 'UTC')} "
            f"AND (user_id IN {users} OR canonical_user_id IN {users})))"
        )

    def _naming_edges(self) -> str:
        users = self._listed("user")
        return f"{_THEN} AND (from_user_id IN {users} OR to_user_id IN {users})"

    def _listed(self, kind: str) -> str:
        return f"(SELECT id FROM {self._scratch} WHERE kind = '{kind}')"

    def _list(self, kind: str, rows: Iterable[tuple[str, int, int]]) -> None:
        lines = [
            json.dumps({"kind": kind, "id": id_, "since_ms": since_ms, "version": version}).encode()
            for id_, since_ms, version in rows
        ]
        if lines:
            self._store.insert(self._scratch, lines, str(uuid4()))

    def _mutated(self, table: Table, command: str, where: str, stage: Stage) -> int:
        """How many rows there were to mutate."""
        count = self._count(table, where)
        if count:
            with stage(f"removing from {table.shown}") as told:
                mutate(self._store, table.name, f"{command} WHERE {where}", self._params, told)
        return count

    def _count(self, table: Table, where: str) -> int:
        sql = f"SELECT uniqExact({table.key}) AS n FROM {table.name} WHERE {where}"
        return int(self._store.query(sql, self._params)[0]["n"])

    def _command(self, sql: str) -> None:
        self._store.command(sql, self._params)


def drop_lists(store: Store, project_id: str, ids: Collection[object], tables: Tables = LIVE) -> None:
    """Drop the scratch tables that name one of these users, persons, or anonymous ids that were asked for. Waits for
    what may still read them."""
    for table in (tables.events, tables.letters, tables.links, tables.edges, tables.persons):
        wait(store, table.name)
    scratch = "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, {prefix:String})"
    for row in store.query(scratch, {"prefix": _SCRATCH}):
        found = store.query(
            "SELECT countIf(kind = 'project' AND id = {project:String}) > 0 "
            "AND countIf(kind IN ('user', 'asked', 'person') AND id IN {ids:Array(String)}) > 0 AS is_theirs "
            f"FROM {row['name']}",
            {"project": project_id, "ids": [str(each) for each in ids]},
        )
        if found[0]["is_theirs"]:
            store.command(f"DROP TABLE IF EXISTS {row['name']} SYNC")


def instant(unix_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=unix_ms)
