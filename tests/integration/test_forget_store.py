"""Taking a person out of the store: from whichever point a removal is repeated, nothing of them is left, and nothing of
anybody else is gone."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from pipeline.forget import NOBODY, Person, choose, tombstones
from store import squash
from store.client import Store
from store.forget import Departure, drop_lists
from store.persons import Reader
from tests.identity.messages import Message, alias, identify, merge, reset, track, unmerge
from tests.identity.pure import Delivery
from tests.identity.view import put
from tests.identity.workloads import Workload
from tests.records import START_MS
from tests.rows import insert, link_row, migrated
from topics.control import Project

NOW_MS = START_MS + 1_000_000
TABLES = (
    "events_stored",
    "rejected_events_stored",
    "identity_links_stored",
    "identity_edges_stored",
    "identity_persons_stored",
)


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def store(store_url: str) -> Iterator[Store]:
    with migrated(f"{store_url}/forget") as store:
        yield store


@contextmanager
def quietly(doing: str) -> Iterator[Callable[[int], None]]:
    yield lambda left: None


def stored(store: Store, *messages: Message, **settings: object) -> str:
    """The id of a project of its own that has these messages."""
    workload = Workload(messages, (Project("p", 0, **settings),))  # type: ignore[arg-type]
    [put_in] = put(store, uuid4().hex[:8], [(workload, Delivery())])
    return f"{put_in.prefix}p"


def person(store: Store, project: str, id_: str, at_ms: int = NOW_MS, kind: str | None = None) -> Person:
    reader = Reader(store, project, at_ms)
    return reader.person(choose(id_, reader.known(id_), kind))


def forget(store: Store, project: str, id_: str, at_ms: int = NOW_MS, stage: object = quietly) -> dict[str, int]:
    departure = Departure(store, person(store, project, id_, at_ms))
    departure.prepare()
    removed = departure.remove((), stage)  # type: ignore[arg-type]
    departure.end()
    return removed


def who(store: Store, project: str) -> dict[str, str | None]:
    sql = "SELECT message_id, resolved_user_id FROM events_resolved_v WHERE project_id = {project:String}"
    return {row["message_id"]: row["resolved_user_id"] for row in store.query(sql, {"project": project})}


def contents(store: Store, project: str) -> dict[str, list[str]]:
    """All rows of all tables, whole."""
    sql = "SELECT * FROM {} WHERE project_id = '{}' ORDER BY ALL"
    read = {table: b"".join(store.stream(sql.format(table, project), "JSONEachRow")) for table in TABLES}
    return {table: rows.decode().splitlines() for table, rows in read.items()}


def lists(store: Store) -> list[str]:
    rows = store.query("SELECT name FROM system.tables WHERE startsWith(name, 'forget_')")
    return [row["name"] for row in rows]


def letter(project: str, offset: int, **columns: object) -> bytes:
    place = {"step": "validate", "source_topic": "events.raw", "source_partition": 0, "source_offset": offset}
    said = {"reason": "invalid_field", "detail": "", "rejected_at": START_MS / 1000, "record_key": "", **columns}
    return json.dumps({"project_id": project, "raw": "{}", **place, **said}).encode()


FIVE = (
    track("e1", 1, "A"),
    identify("i2", 2, "A", "U1"),
    track("e3", 3, "A"),
    identify("i5", 5, "A", "U2"),
    track("e6", 6, "A"),
)
# U1 and U2 are one; A and B are theirs alone, C was U3's before; U1 and U4 were one once.
ALL_KINDS = (
    *(track("a1", 1, "A"), identify("a2", 2, "A", "U1"), reset("a3", 3, "A")),
    *(identify("b1", 1, "B", "U2"), track("b2", 2, "B"), alias("t1", 4, "U1", "U2")),
    *(identify("c1", 1, "C", "U3"), reset("c2", 2, "C"), identify("c3", 3, "C", "U1"), track("c4", 4, "C")),
    *(merge("t2", 5, "U1", "U4"), unmerge("t3", 6, "U1", "U4"), identify("d1", 6, "D", "U4")),
)
LEFT = {"c1": "U3", "d1": "U4"}


def test_case_33_the_next_user_of_the_device_keeps_what_is_theirs(store: Store) -> None:
    project = stored(store, *FIVE)
    assert forget(store, project, "U1") == {
        "events": 3,
        "identity_links": 1,
        "identity_edges": 0,
        "identity_persons": 0,
        "rejected_events": 0,
    }
    assert who(store, project) == {"i5": "U2", "e6": "U2"}
    assert "U1" not in str(contents(store, project))


@pytest.mark.parametrize(
    ("id_", "mutations"),
    [
        *(("A", 3), ("A", 6), ("U1", 5)),
        *(pytest.param(*each, marks=pytest.mark.long) for each in (("A", 1), ("A", 5), ("U1", 3), ("U2", 2))),
    ],
)
def test_a_removal_that_was_killed_is_finished_by_the_same_id(store: Store, id_: str, mutations: int) -> None:
    project = stored(store, *ALL_KINDS)
    insert(store, letter(project, 1, user_id="U2"), letter(project, 2, message_id="a1"), table="rejected_events_stored")
    left = mutations

    @contextmanager
    def killed_later(doing: str) -> Iterator[Callable[[int], None]]:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        yield lambda parts: None

    with pytest.raises(Killed):
        forget(store, project, id_, stage=killed_later)
    forget(store, project, id_)
    assert who(store, project) == (LEFT if id_ == "A" else LEFT | {"a3": None})
    text = str(contents(store, project))
    assert [named for named in ("U1", "U2", '"B"') if named in text] == []
    assert contents(store, project)["rejected_events_stored"] == []
    assert Reader(store, project, NOW_MS).known("U1") == NOBODY
    assert lists(store) == []


def test_a_merged_person_goes_with_all_its_users_and_nobody_elses(store: Store) -> None:
    project = stored(store, *FIVE, merge("t", 7, "U1", "U2"), identify("o", 8, "O", "U3"))
    assert person(store, project, "U2").users == ("U1", "U2")
    forget(store, project, "U2")
    assert who(store, project) == {"o": "U3"}
    text = str(contents(store, project))
    assert [named for named in ("U1", "U2", "A") if f'"{named}"' in text] == []


def test_an_anonymous_id_goes_with_what_it_did_as_nobody(store: Store) -> None:
    project = stored(store, identify("i", 1, "A", "U"), reset("x", 2, "A"), track("e", 3, "A"), track("o", 3, "B"))
    forget(store, project, "A")
    assert who(store, project) == {"o": None}


def test_of_somebody_who_was_never_a_user_the_events_go(store: Store) -> None:
    project = stored(store, track("e", 1, "A"), reset("x", 2, "A"), track("o", 1, "B"))
    assert person(store, project, "A").users == ()
    forget(store, project, "A")
    assert who(store, project) == {"o": None}
    assert contents(store, project)["identity_links_stored"] == []


def test_a_reset_stays_where_it_ends_what_was_anothers(store: Store) -> None:
    project = stored(store, identify("i1", 1, "A", "U1"), reset("x", 2, "A"), identify("i3", 3, "A", "U2"))
    forget(store, project, "U2")
    assert who(store, project) == {"i1": "U1"}
    kinds = [json.loads(row)["kind"] for row in contents(store, project)["identity_links_stored"]]
    assert sorted(kinds) == ["exact", "reset"]


def test_what_another_user_says_of_their_own_device_stays_though_it_tied_the_person(store: Store) -> None:
    messages = alias("t", 2, "U1", "U2", anonymous="B"), unmerge("m", 3, "U1", "U2"), track("e", 1, "B")
    parted = track("p", 4, None, "U2", event="$unalias", previous="U1")
    project = stored(store, identify("i", 1, "A", "U1"), *messages, parted)
    before = who(store, project)
    assert before["e"] == "U2"
    forget(store, project, "U1")
    assert who(store, project)["e"] == "U2"


def test_names_given_for_the_time_being_go_from_others_events(store: Store) -> None:
    late = identify("i2", 2, "A", "U2", received=9)
    project = stored(store, identify("i1", 1, "A", "U1"), track("e", 3, "A"), late)
    named = "SELECT stitched_user_id FROM events WHERE project_id = {p:String} AND message_id = 'e'"
    assert store.query(named, {"p": project}) == [{"stitched_user_id": "U1"}]
    forget(store, project, "U1")
    assert who(store, project) == {"e": "U2", "i2": "U2"}
    assert store.query(named, {"p": project}) == [{"stitched_user_id": None}]


def test_names_that_a_squash_wrote_go_and_what_it_wrote_is_void(store: Store) -> None:
    project = stored(store, identify("i1", 1, "A", "U1"), track("e", 3, "A"), track("o", 9, "B"))
    squash.squash(store, datetime(2027, 1, 1, tzinfo=UTC), project)
    at_s = START_MS / 1000
    late = link_row(project_id=project, user_id="U2", message_id="l", timestamp=at_s + 2, received_at=at_s + 9)
    insert(store, late, table="identity_links_stored")
    assert who(store, project)["e"] == "U2"
    forget(store, project, "U1")
    assert who(store, project) == {"e": "U2", "o": None}
    assert "U1" not in str(contents(store, project))


def test_repeats_of_a_message_go_with_it_and_hidden_ones_too(store: Store) -> None:
    hidden = identify("m", 1, "A", "U1", received=200_000)
    project = stored(store, identify("m", 1, "B", "U2"), hidden, track("e", 2, None, "U1"))
    forget(store, project, "U1", at_ms=START_MS + 300_000_000)
    assert who(store, project) == {"m": "U2"}
    assert "U1" not in str(contents(store, project))


def test_what_is_received_later_begins_a_new_person(store: Store) -> None:
    project = stored(
        store, *FIVE, track("late", 6, "A", "U1", received=2000), identify("new", 6, "N", "U1", received=2000)
    )
    forget(store, project, "U1")
    assert who(store, project) == {"i5": "U2", "e6": "U2", "late": "U1", "new": "U1"}


def test_nothing_of_another_project_is_touched(store: Store) -> None:
    messages = (*FIVE, merge("t", 7, "U1", "U2"))
    project, other = stored(store, *messages), stored(store, *messages)
    before = contents(store, other)
    forget(store, project, "U1")
    assert contents(store, other) == before
    assert not any(contents(store, project).values())


def test_dead_letters_of_the_person_go_and_others_stay(store: Store) -> None:
    project = stored(store, *FIVE, identify("i7", 7, "S", "U1"))
    theirs = (
        letter(project, 1, user_id="U1"),
        letter(project, 2, message_id="e1"),
        letter(project, 3, anonymous_id="S"),
        letter(project, 4, record_key=f"{project}|u:U1"),
        letter(project, 5, record_key=f"{project}|a:S"),
    )
    others = letter(project, 6, anonymous_id="A"), letter(project, 7, user_id="U2"), letter(project, 8)
    insert(store, *theirs, *others, table="rejected_events_stored")
    assert forget(store, project, "U1")["rejected_events"] == 5
    rows = contents(store, project)["rejected_events_stored"]
    assert [json.loads(row)["source_offset"] for row in rows] == [6, 7, 8]


def test_counting_leaves_all_as_it_was(store: Store) -> None:
    project = stored(store, *ALL_KINDS)
    before = contents(store, project)
    departure = Departure(store, person(store, project, "U1"))
    departure.prepare()
    counts = departure.counts()
    departure.end()
    assert contents(store, project) == before
    assert counts == forget(store, project, "U1")


def test_a_list_of_which_nothing_is_left_is_dropped(store: Store) -> None:
    project = stored(store, *FIVE)
    departure = Departure(store, person(store, project, "U1"))
    departure.prepare()
    other = Departure(store, person(store, stored(store, *FIVE), "U1"))
    other.prepare()
    drop_lists(store, project, ["U1"])
    assert len(lists(store)) == 1
    other.end()
    assert lists(store) == []


def test_what_the_store_remembers_of_mutations_names_nobody(store: Store) -> None:
    project = stored(store, identify("m", 1, "A-secret", "U-secret"))
    forget(store, project, "U-secret")
    commands = [row["command"] for row in store.query("SELECT command FROM system.mutations")]
    assert any(project in command for command in commands)
    assert not any("secret" in command for command in commands)


@pytest.mark.parametrize("id_", ["U1", "A", "U2"])
def test_a_note_leads_back_to_the_person_where_a_replay_has_them_again(store: Store, id_: str) -> None:
    project = stored(store, identify("i", 1, "A", "U1"), track("e", 2, "A"), merge("t", 3, "U1", "U2"))
    reader = Reader(store, project, NOW_MS)
    meant = person(store, project, id_)
    found = reader.chosen_by(tombstones(meant)[0])
    assert found is not None
    assert reader.person(found).users == meant.users
    assert reader.chosen_by(tombstones(person(store, stored(store, track("e", 1, "Z")), "Z"))[0]) is None
