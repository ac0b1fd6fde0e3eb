"""A person from rows, and as it is printed: no store takes part."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cli.identity_edges import edges
from cli.identity_person import Person, persons
from cli.identity_rows import Done, Membership, Message, Refused, Rows, Tie, TieKind
from cli.identity_tree import MOST_SHOWN, Branch, draw, indented, person_branch, refused_branch
from pipeline.person import person_id
from topics.control import Policy
from topics.edges import EdgeAction, EdgeFact, EdgeKind
from topics.persons import Standing

START = datetime(2026, 9, 21, 12, 0, tzinfo=UTC)
ANN = person_id("shop", "ann", None)
A1 = person_id("shop", None, "a-1")


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def message(name: str, minute: int = 0) -> Message:
    return Message(name, at(minute), at(minute))


def tie(user_id: str | None = "ann", minute: int = 1, anonymous_id: str = "a-1", facts: int = 1) -> Tie:
    kind: TieKind = "reset" if user_id is None else "identify"
    return Tie(anonymous_id, user_id, kind, message(f"m-{minute}", minute), facts, at(minute + facts - 1))


def did(user: str | None = None, anonymous: str | None = "a-1", ties: int = 0, events: int = 1) -> Done:
    return Done(user, anonymous, ties, events, at(0), at(events))


def said(
    minute: int, one: str, other: str, kind: EdgeKind = EdgeKind.ALIAS, action: EdgeAction = EdgeAction.JOIN
) -> EdgeFact:
    moment = at(minute).timestamp()
    return EdgeFact("shop", kind, action, one, other, moment, f"m-{minute}", moment)


ALONE = Membership("ann", "ann", Standing.ALONE)
BOB = Membership("bob", "bob", Standing.ALONE)
MERGED = (Membership("ann", "ann", Standing.JOINED), Membership("a.old", "ann", Standing.JOINED))
ALIAS = said(7, "a.old", "ann")
ROWS = Rows("shop", memberships=(ALONE,), ties=(tie(),), done=(did(), did("ann", events=2)))


def only(rows: Rows) -> Person:
    (person,) = persons(rows)
    return person


def text(branch: Branch) -> str:
    return "\n".join(indented(branch))


def test_person_has_the_events_of_its_users_and_of_its_anonymous_ids() -> None:
    person = only(ROWS)
    assert (person.person_id, person.user_id, person.standing) == (ANN, "ann", "alone")
    assert (person.seen.events, person.seen.first_seen, person.seen.last_seen) == (3, at(0), at(2))
    assert [(user.user_id, user.seen.events) for user in person.users] == [("ann", 2)]
    assert [(each.anonymous_id, each.standing, each.seen.events) for each in person.anonymous_ids] == [
        ("a-1", "linked", 3)
    ]


def test_canonical_user_comes_first_of_several() -> None:
    person = only(replace(ROWS, memberships=tuple(reversed(MERGED)), edge_facts=(ALIAS,)))
    assert [user.user_id for user in person.users] == ["ann", "a.old"]
    assert person.standing == "joined"
    assert [(edge.from_user_id, edge.to_user_id, edge.state) for edge in person.edges] == [("a.old", "ann", "counts")]


CONTESTED = Rows(
    "shop",
    anonymous_id="a-1",
    memberships=(ALONE, BOB),
    ties=(tie("ann", 1), tie("bob", 2), tie(None, 3), tie("bob", 4)),
    done=(did(ties=0), did(ties=1, events=10), did(ties=2, events=100), did(ties=3, events=1000)),
)


@pytest.mark.parametrize(
    ("policy", "ann", "bob", "nobody"),
    [("interval", 11, 1100, 0), ("first_wins", 111, 1000, 0), ("last_wins", 0, 1111, 0), ("isolate", 0, 1000, 111)],
)
def test_events_of_a_contested_id_are_whose_the_policy_says(policy: Policy, ann: int, bob: int, nobody: int) -> None:
    events = {person.user_id: person.seen.events for person in persons(replace(CONTESTED, policy=policy))}
    assert events == {"ann": ann, "bob": bob} | ({None: nobody} if nobody else {})


def test_anonymous_id_of_several_users_is_shown_whole_with_each_of_their_persons() -> None:
    ann, bob = persons(CONTESTED)
    assert ann.anonymous_ids[0].ties == bob.anonymous_ids[0].ties == CONTESTED.ties
    assert (ann.anonymous_ids[0].seen.events, bob.anonymous_ids[0].seen.events) == (11, 1100)


def test_mixpanels_identify_of_an_id_that_has_a_user_counts_for_nothing() -> None:
    ties = (tie("ann", 1), replace(tie("bob", 2), kind="first"))
    ann, bob = persons(replace(CONTESTED, ties=ties, done=(did(ties=2),)))
    assert (ann.seen.events, bob.seen.events) == (1, 0)
    assert "does not count" in text(person_branch(ann))


def test_anonymous_id_without_a_user_is_a_person_of_its_own() -> None:
    person = only(Rows("shop", anonymous_id="a-1", done=(did(events=4),)))
    assert (person.person_id, person.user_id, person.standing) == (A1, None, "anonymous")
    assert (person.seen.events, person.anonymous_ids[0].standing) == (4, "unlinked")


@pytest.mark.parametrize("policy", ["interval", "first_wins", "last_wins", "isolate"])
def test_shared_id_is_nobodys_and_says_so(policy: Policy) -> None:
    ties = tuple(tie(f"u-{n}", n) for n in range(1, 5))
    person = only(Rows("shop", policy, max_users=3, anonymous_id="a-1", ties=ties, done=(did(ties=2),)))
    assert (person.person_id, person.seen.events) == (A1, 1)
    assert person.anonymous_ids[0].standing == "shared"
    assert "shared: more users than one id may have" in text(person_branch(person))


def test_user_that_gave_way_is_listed_as_an_anonymous_id_only_where_it_was_one() -> None:
    """An alias makes a fact of both kinds, as nobody knows of which its previous id is."""
    rows = replace(ROWS, memberships=MERGED, ties=(replace(tie(anonymous_id="a.old"), kind="alias"),), done=())
    assert only(rows).anonymous_ids == ()
    (shown,) = only(replace(rows, done=(did(anonymous="a.old", ties=1),))).anonymous_ids
    assert (shown.anonymous_id, shown.seen.events) == ("a.old", 1)


def test_lines_tell_each_message_that_made_it_so() -> None:
    merge = [said(8, "ann", "eve", EdgeKind.MERGE), said(9, "ann", "eve", EdgeKind.MERGE, EdgeAction.PART)]
    ties = (tie("ann", 1, facts=3), tie(None, 5))
    person = only(replace(ROWS, memberships=MERGED, ties=ties, edge_facts=(ALIAS, *merge)))
    when = "2026-09-21T12:00:00.000Z to 2026-09-21T12:02:00.000Z"
    assert text(person_branch(person)).splitlines() == [
        f"ann  person {ANN}  several users that are one  3 events, {when}",
        "  users",
        f"    ann  2 events, {when}",
        "    a.old  no events",
        "  anonymous ids",
        f"    a-1  3 events, {when}",
        "      identify: ann  message m-1 at 2026-09-21T12:01:00.000Z"
        "  and 2 more that say so, until 2026-09-21T12:03:00.000Z",
        "      reset: nobody  message m-5 at 2026-09-21T12:05:00.000Z",
        "  between users",
        "    alias: a.old → ann",
        "      joined by message m-7 at 2026-09-21T12:07:00.000Z",
        "    merge: ann = eve  parted",
        "      joined by message m-8 at 2026-09-21T12:08:00.000Z",
        "      parted by message m-9 at 2026-09-21T12:09:00.000Z",
    ]


def test_late_receipt_is_told_beside_the_time_of_the_message() -> None:
    late = replace(tie(), message=Message("m-1", at(1), at(60)))
    told = text(person_branch(only(replace(ROWS, ties=(late,)))))
    assert "message m-1 at 2026-09-21T12:01:00.000Z, received 2026-09-21T13:00:00.000Z" in told


CANONICAL = {"ann": "ann", "a.old": "ann"}


@pytest.mark.parametrize(
    ("facts", "states"),
    [
        ([said(1, "a.old", "ann")], ["counts"]),
        ([said(1, "a.old", "eve"), said(2, "a.old", "ann")], ["suspended", "conflict"]),
        ([said(1, "a.old", "ann"), said(2, "a.old", "ann", action=EdgeAction.PART)], ["parted"]),
        (
            [said(1, "a.old", "ann"), said(2, "a.old", "ann", action=EdgeAction.PART), said(3, "a.old", "ann")],
            ["counts"],
        ),
        ([said(1, "a.old", "ann"), said(2, "a.old", "ann", EdgeKind.MERGE, EdgeAction.PART)], ["counts"]),
        (
            [said(1, "a.old", "bob"), said(2, "a.old", "ann"), said(3, "a.old", "bob", action=EdgeAction.PART)],
            ["parted", "counts"],
        ),
        ([said(1, "ann", "eve", EdgeKind.MERGE)], ["suspended"]),
    ],
)
def test_edge_counts_or_says_why_not(facts: list[EdgeFact], states: list[str]) -> None:
    assert [edge.state for edge in edges(facts, CANONICAL)] == states


def test_edge_tells_each_change_of_mind_and_no_repetition() -> None:
    parted = said(3, "a.old", "ann", action=EdgeAction.PART)
    (edge,) = edges([said(1, "a.old", "ann"), said(2, "a.old", "ann"), parted, said(4, "a.old", "ann")], CANONICAL)
    assert [(each.action, each.message.message_id) for each in edge.said] == [
        ("join", "m-1"),
        ("part", "m-3"),
        ("join", "m-4"),
    ]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ((said(6, "a.old", "eve"), ALIAS), "an earlier alias of the same user counts"),
        ((said(7, "ann", "eve", EdgeKind.MERGE),), "it would make too large a person"),
    ],
)
def test_edge_that_does_not_count_says_why(facts: tuple[EdgeFact, ...], words: str) -> None:
    assert words in text(person_branch(only(replace(ROWS, memberships=MERGED, edge_facts=facts))))


def test_user_tied_to_too_many_is_told_to_count_as_alone() -> None:
    suspended = replace(ALONE, standing=Standing.SUSPENDED)
    assert "suspended: tied to more users" in text(person_branch(only(replace(ROWS, memberships=(suspended,)))))


def test_no_id_can_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2Jx\n[red]"
    rows = Rows("shop", memberships=(Membership(evil, evil, Standing.ALONE),), ties=(tie(evil, anonymous_id=evil),))
    refused = refused_branch([Refused(evil, at(0), "blocked_id", evil)])
    draw([person_branch(only(rows)), refused])
    drawn = capsys.readouterr().out
    assert "\x1b" not in drawn
    assert "�[2Jx�[red]" in drawn
    assert not any("\n" in line for branch in (person_branch(only(rows)), refused) for line in indented(branch))


def test_long_lists_are_cut_and_say_how_many_are_left_out() -> None:
    ties = tuple(tie(anonymous_id=f"a-{n:03}") for n in range(MOST_SHOWN + 7))
    lines = text(person_branch(only(replace(ROWS, ties=ties)))).splitlines()
    assert "    … and 7 more; --json has them all" in lines
    assert "    a-019  no events" in lines
    assert "    a-020  no events" not in lines
