"""`identity show` on a real store: what it finds of an id, and that it counts as `events_resolved_v` does."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import click
import pytest
from click.testing import CliRunner

from cli.identity import Shown, find, identity
from cli.identity_read import FOR_EVER, Asked, Reader, Side
from pipeline.instants import read_instant
from pipeline.person import person_id
from store.client import Store
from store.tables import EVENTS, LINKS
from tests.rows import RECEIVED_AT_S, event_row, link_row, migrated

EDGES, PERSONS, PROJECTS = "identity_edges_stored", "identity_persons_stored", "projects_stored"
DAY_S = 86_400


@pytest.fixture(scope="module")
def store(store_url: str) -> Iterator[Store]:
    with migrated(f"{store_url}/identity_show") as opened:
        yield opened


def moment(day: float) -> datetime:
    return datetime.fromtimestamp(RECEIVED_AT_S + day * DAY_S, UTC)


@dataclass
class Project:
    """A project of one test, and what is put into it. Times are days after the first receipt."""

    store: Store
    id: str

    def event(self, day: float, name: str, anonymous: str | None = None, user: str | None = None, **given: Any) -> None:
        at = RECEIVED_AT_S + day * DAY_S
        ids = {"message_id": name, "anonymous_id": anonymous, "user_id": user}
        self._put(EVENTS, event_row(project_id=self.id, **ids, timestamp=at, received_at=at, **given))

    def login(self, day: float, name: str, anonymous: str, user: str | None, kind: str = "exact") -> None:
        """An event that says a user, or a reset, and its fact."""
        of_kind = {"exact": "identify", "reset": "track", "implicit": "track", "first": "identify"}[kind]
        self.event(day, name, anonymous, user, type=of_kind)
        self.link(day, name, anonymous, user, kind)

    def link(self, day: float, name: str, anonymous: str, user: str | None, kind: str = "exact") -> None:
        at = RECEIVED_AT_S + day * DAY_S
        ids = {"message_id": name, "anonymous_id": anonymous, "user_id": user}
        self._put(LINKS, link_row(project_id=self.id, **ids, timestamp=at, received_at=at, kind=kind))

    def edge(self, day: float, name: str, one: str, other: str, kind: str = "alias", action: str = "join") -> None:
        at = RECEIVED_AT_S + day * DAY_S
        row = {"project_id": self.id, "kind": kind, "action": action, "from_user_id": one, "to_user_id": other}
        self._put(EDGES, json.dumps(row | {"timestamp": at, "message_id": name, "received_at": at}).encode())

    def person(self, day: float, user: str, canonical: str, standing: str = "joined", version: int = 1) -> None:
        row = {"project_id": self.id, "user_id": user, "since": RECEIVED_AT_S + day * DAY_S, "message_id": "m"}
        row |= {"canonical_user_id": canonical, "standing": standing, "version": version}
        self._put(PERSONS, json.dumps(row).encode())

    def settings(self, **given: object) -> None:
        row = {"project_id": self.id, "policy": "interval", "max_users_per_anonymous_id": 10, "version": 1}
        self._put(PROJECTS, json.dumps(row | given).encode())

    def show(self, id_: str, side: Side | None = None, as_of_day: float | None = None) -> Shown:
        as_of = FOR_EVER if as_of_day is None else moment(as_of_day)
        return find(Reader(self.store, Asked(self.id, id_, as_of)), side)

    def refusal(self, id_: str, **asked: Any) -> str:
        with pytest.raises(click.ClickException) as raised:
            self.show(id_, **asked)
        return raised.value.message

    def resolved(self, as_of: str = "2299-01-01 00:00:00") -> dict[object, int]:
        """Events of each person, as the views say."""
        view = f"events_resolved_as_of(as_of = '{as_of}')"
        sql = f"SELECT person_id, count() AS n FROM {view} WHERE project_id = {{p:String}} GROUP BY person_id"
        return {row["person_id"]: row["n"] for row in self.store.query(sql, {"p": self.id})}

    def _put(self, table: str, row: bytes) -> None:
        self.store.insert(table, [row], str(uuid4()))


@pytest.fixture
def project(store: Store) -> Project:
    return Project(store, f"p-{uuid4().hex[:8]}")


def test_user_is_shown_with_its_ids_and_the_messages_that_made_them_its(project: Project) -> None:
    project.event(0, "e1", "a-1")
    project.login(1, "i1", "a-1", "ann")
    project.login(1.5, "i2", "a-1", "ann", "implicit")
    project.event(2, "e2", user="ann")
    project.event(2, "other", "a-2")
    (person,) = project.show("ann").persons
    assert (person.user_id, person.standing, person.seen.events) == ("ann", "alone", 4)
    (device,) = person.anonymous_ids
    assert (device.anonymous_id, device.standing, device.seen.events) == ("a-1", "linked", 3)
    assert [(tie.kind, tie.message.message_id, tie.facts) for tie in device.ties] == [("identify", "i1", 2)]
    assert {person.person_id: 4} | {person_id(project.id, None, "a-2"): 1} == project.resolved()


@pytest.mark.parametrize("policy", ["interval", "first_wins", "last_wins", "isolate"])
def test_events_are_counted_as_the_view_resolves_them_by_every_policy(project: Project, policy: str) -> None:
    project.settings(policy=policy)
    for day in range(12):
        project.event(day + 0.5, f"e{day:02}", "a-1")
    for day, user in ((1, "ann"), (3, "bob"), (6, None), (7, "ann"), (9, None)):
        project.login(day, f"l{day}", "a-1", user, "exact" if user else "reset")
    project.login(2, "f2", "a-1", "eve", "first")
    shown = project.show("a-1")
    assert shown.is_a == ["anonymous"]
    counted = {person.person_id: person.seen.events for person in shown.persons if person.seen.events}
    assert counted == project.resolved()


def test_merged_users_are_one_person_with_the_edge_that_made_it(project: Project) -> None:
    project.event(1, "e1", user="ann")
    project.event(2, "e2", user="old")
    project.edge(3, "al", "old", "ann")
    project.link(3, "al", "old", "ann")
    project.event(3, "al", user="ann", type="alias")
    project.person(3, "old", "ann")
    project.person(3, "ann", "ann")
    for id_ in ("ann", "old"):
        shown = project.show(id_)
        assert shown.is_a == ["user"]
        (person,) = shown.persons
        assert [user.user_id for user in person.users] == ["ann", "old"]
        assert (person.user_id, person.standing, person.seen.events) == ("ann", "joined", 3)
        assert [(edge.kind, edge.state, edge.said[0].message.message_id) for edge in person.edges] == [
            ("alias", "counts", "al")
        ]
        assert person.anonymous_ids == ()


def test_edges_stand_as_the_view_says(project: Project) -> None:
    project.edge(1, "1", "old", "ann")
    project.edge(2, "2", "old", "bob")
    project.edge(3, "3", "bob", "ann", "merge")
    project.edge(4, "4", "ann", "eve", "merge")
    project.edge(5, "5", "ann", "eve", "merge", action="part")
    project.edge(6, "6", "ann", "big", "merge")
    for user in ("ann", "bob", "old"):
        project.person(6, user, "ann")
    project.person(6, "ann", "ann", "suspended", version=2)
    project.person(6, "big", "big", "suspended")
    sql = "SELECT kind, from_user_id, to_user_id, state FROM identity_edges WHERE project_id = {p:String}"
    viewed = {tuple(row.values()) for row in project.store.query(sql, {"p": project.id})}
    (person,) = project.show("old").persons
    shown = {(edge.kind.value, edge.from_user_id, edge.to_user_id, edge.state) for edge in person.edges}
    assert shown == viewed


def test_earlier_moment_knows_only_what_had_been_received(project: Project) -> None:
    project.event(0, "e0", "a-1")
    project.login(2, "i2", "a-1", "ann")
    project.event(3, "e3", user="old")
    project.edge(4, "al", "old", "ann")
    project.person(4, "old", "ann")
    project.person(4, "ann", "ann")
    project.edge(6, "un", "old", "ann", action="part")
    project.person(6, "old", "old", "alone")
    project.person(6, "ann", "ann", "alone")

    def users(as_of_day: float | None) -> list[tuple[list[str], int]]:
        found = project.show("ann", as_of_day=as_of_day).persons
        return [([user.user_id for user in person.users], person.seen.events) for person in found]

    assert users(2.5) == [(["ann"], 2)]
    assert users(5) == [(["ann", "old"], 3)]
    assert project.resolved(moment(5).strftime("%Y-%m-%d %H:%M:%S")) == {person_id(project.id, "ann", None): 3}
    assert users(None) == [(["ann"], 2)]
    assert "as of" in project.refusal("ann", as_of_day=1)
    (nobody,) = project.show("a-1", as_of_day=1).persons
    assert (nobody.user_id, nobody.seen.events) == (None, 1)


def test_later_version_of_a_step_replaces_the_earlier(project: Project) -> None:
    project.event(1, "e1", user="old")
    project.person(2, "old", "ann", version=7)
    project.person(2, "old", "old", "alone", version=9)
    assert [person.user_id for person in project.show("old").persons] == ["old"]


def test_id_that_is_both_says_so_and_either_can_be_chosen(project: Project) -> None:
    project.event(1, "e1", "x")
    project.login(2, "i2", "x", "ann")
    project.event(3, "e3", user="x")
    shown = project.show("x")
    assert shown.is_a == ["user", "anonymous"]
    assert [person.user_id for person in shown.persons] == ["ann", "x"]
    assert [person.user_id for person in project.show("x", "user").persons] == ["x"]
    assert [person.user_id for person in project.show("x", "anonymous").persons] == ["ann"]


def test_shared_id_is_one_anonymous_person(project: Project) -> None:
    project.settings(max_users_per_anonymous_id=2)
    project.event(0, "e0", "kiosk")
    for n in range(3):
        project.login(n + 1, f"i{n}", "kiosk", f"u-{n}")
    (nobody,) = project.show("kiosk").persons
    assert (nobody.user_id, nobody.seen.events, nobody.anonymous_ids[0].standing) == (None, 1, "shared")
    (user,) = project.show("u-0").persons
    assert (user.seen.events, user.anonymous_ids[0].standing) == (1, "shared")


def test_repeated_message_counts_once(project: Project) -> None:
    project.login(1, "i1", "a-1", "ann")
    project.login(2, "i1", "a-1", "bob")
    project.event(3, "e3", "a-1")
    (ann,) = project.show("a-1").persons
    assert (ann.user_id, ann.seen.events, len(ann.anonymous_ids[0].ties)) == ("ann", 2, 1)
    assert project.resolved() == {ann.person_id: 2}


def test_projects_never_touch(store: Store, project: Project) -> None:
    other = Project(store, f"{project.id}-other")
    project.event(1, "e1", "a-1")
    other.login(2, "i2", "a-1", "ann")
    assert [person.user_id for person in project.show("a-1").persons] == [None]
    assert project.id in other.refusal("bob") or "nothing is known of 'bob'" in other.refusal("bob")


def test_what_cannot_be_found_says_what_to_do(project: Project) -> None:
    assert "name one with --project" in project.refusal("ann")
    project.event(1, "e1", user="ann")
    assert "nothing is known of 'bob'" in project.refusal("bob")
    assert "leave out --as-of" in project.refusal("ann", as_of_day=0)
    assert "is no anonymous id" in project.refusal("ann", side="anonymous")
    assert "leave out --anonymous" in project.refusal("ann", side="anonymous")
    assert "placeholder" in project.refusal("NULL")


def test_message_that_tied_nothing_is_told_with_its_reason(project: Project) -> None:
    project.event(1, "e1", user="ann")
    refused = {
        "project_id": project.id,
        "message_id": "m1",
        "user_id": "ann",
        "received_at": RECEIVED_AT_S,
        "reason": "needs_secret_key",
        "detail": "why",
        "rejected_at": RECEIVED_AT_S,
        "step": "link",
        "source_topic": "t",
        "source_partition": 0,
        "source_offset": 1,
        "raw": '{"previousId": "old"}',
    }
    unrelated = refused | {"message_id": "m2", "user_id": "bob", "source_offset": 2}
    later_step = refused | {"message_id": "m3", "step": "sink", "source_offset": 3}
    merge = refused | {
        "message_id": "m4",
        "user_id": None,
        "source_offset": 4,
        "raw": '{"properties": {"$distinct_ids": ["x", "ann"]}}',
    }
    for row in (refused, unrelated, later_step, merge):
        project.store.insert("rejected_events_stored", [json.dumps(row).encode()], str(uuid4()))
    assert {each.message_id for each in project.show("ann").refused} == {"m1", "m4"}


@pytest.fixture
def command(store_url: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("WHIPSTITCH_STORE", f"{store_url}/identity_show")
    return CliRunner()


def test_command_prints_lines_and_one_json_value(project: Project, command: CliRunner) -> None:
    project.event(0, "e0", "a-1")
    project.login(1, "i1", "a-1", "ann")
    asked = ["show", "a-1", "--project", project.id]
    lines = command.invoke(identity, asked, catch_exceptions=False).stdout.splitlines()
    assert lines[0].startswith("ann  person ")
    assert "      identify: ann  message i1 at " in "\n".join(lines)
    told = json.loads(command.invoke(identity, [*asked, "--json"], catch_exceptions=False).stdout)
    assert (told["project_id"], told["id"], told["is_a"], told["as_of"]) == (project.id, "a-1", ["anonymous"], None)
    (person,) = told["persons"]
    assert person["person_id"] == str(person_id(project.id, "ann", None))
    assert person["anonymous_ids"][0]["ties"][0]["message"]["message_id"] == "i1"
    assert read_instant(person["seen"]["first_seen"]) == round(RECEIVED_AT_S * 1000)


def test_command_says_what_is_wrong_with_a_moment(command: CliRunner) -> None:
    done = command.invoke(identity, ["show", "ann", "--project", "p", "--as-of", "yesterday"])
    assert done.exit_code == 2
    assert "2026-01-31T12:00:00Z" in done.stderr
    done = command.invoke(identity, ["show", "ann", "--project", "p", "--as-of", "2026-01-31"])
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
