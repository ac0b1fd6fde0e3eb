"""The scripts in `examples/`: what they keep is right from the example payloads on, and they run as shown."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.follow_identity import CHANGES, LINKS, WhoIsWho, learned
from tests.fixtures.system import System
from tests.records import START_MS, TestRecord, raw_call
from tests.waiting import eventually


def payloads(topic: str) -> list[dict[str, Any]]:
    read = json.loads((files("topics") / "examples" / f"{topic}.json").read_text())
    return [record["value"] for record in read]


def fact(
    at: float, user: str | None, kind: str = "exact", anonymous: str = "A", message_id: str = "m"
) -> dict[str, Any]:
    return {
        "project_id": "p",
        "anonymous_id": anonymous,
        "user_id": user,
        "timestamp": at,
        "message_id": message_id,
        "kind": kind,
        "received_at": at,
    }


def change(version: int, user: str, person: str, *members: str) -> dict[str, Any]:
    return {"project_id": "p", "user_id": user, "new_user_id": person, "members": [*members], "version": version}


# Three users become one person, one at a time, and the last is parted again.
STORY = [
    change(3, "b", "a", "a", "b"),
    change(4, "c", "a", "a", "b", "c"),
    change(5, "d", "d", "d", "e"),
    change(7, "c", "c", "c"),
]


def after(changes: list[dict[str, Any]]) -> WhoIsWho:
    who = WhoIsWho()
    for each in changes:
        who.learn_change(each)
    return who


def persons(who: WhoIsWho) -> dict[str, list[str]]:
    return {who.person_of("p", user): who.members_of("p", user) for user in "abcde"}


def test_the_example_payloads_tell_a_link_a_merge_and_its_undoing() -> None:
    who = WhoIsWho()
    lines = [line for topic in (LINKS, CHANGES) for value in payloads(topic) for line in learned(who, topic, value)]
    assert lines == [
        "shop: a-507f191e is u-97980cfe",
        "shop: ada@example.com is u-97980cfe",
        "shop: ada@example.com is the person u-97980cfe (ada@example.com, u-97980cfe)",
        "shop: u-b3a1f0c2 is the person u-97980cfe (ada@example.com, u-97980cfe, u-b3a1f0c2)",
        "shop: u-b3a1f0c2 is the person u-b3a1f0c2 (u-b3a1f0c2)",
    ]
    assert who.person_of("shop", who.user_of("shop", "a-507f191e") or "") == "u-97980cfe"
    assert who.members_of("shop", "ada@example.com") == ["ada@example.com", "u-97980cfe"]


def test_merge_and_unmerge_move_the_user_that_is_parted_alone() -> None:
    assert persons(after(STORY)) == {"a": ["a", "b"], "c": ["c"], "d": ["d", "e"]}


@given(st.integers(0, len(STORY)), st.integers(0, len(STORY)))
def test_changes_that_come_again_change_nothing(read: int, again_from: int) -> None:
    """As after a crash: Kafka's order, from an earlier point on."""
    assert persons(after([*STORY[:read], *STORY[min(read, again_from) :]])) == persons(after(STORY))


def test_one_who_begins_late_knows_a_person_by_any_of_its_changes() -> None:
    assert after(STORY[1:2]).members_of("p", "b") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("facts", "user"),
    [
        ([fact(1, "u1"), fact(2, "u2")], "u2"),
        ([fact(1, "u1"), fact(2, None, "reset")], None),
        ([fact(1, "u1"), fact(2, None, "reset"), fact(3, "u2", "implicit")], "u2"),
        ([fact(1, "u1", message_id="m1"), fact(1, "u2", message_id="m2")], "u2"),
        ([fact(1, "u1", "first"), fact(2, "u2", "first")], "u1"),
        ([fact(1, "u1"), fact(2, "u2", "first")], "u1"),
        ([fact(1, "u1", "first"), fact(2, "u2")], "u2"),
        ([fact(1, None, "reset"), fact(2, "u1", "first")], "u1"),
        ([fact(1, "u1", "first"), fact(2, None, "reset"), fact(3, "u2", "first")], None),
    ],
)
def test_anonymous_id_is_the_user_of_its_latest_fact_in_any_order_of_arrival(
    facts: list[dict[str, Any]], user: str | None
) -> None:
    for seed in range(20):
        who = WhoIsWho()
        for each in random.Random(seed).sample(facts * 2, len(facts) * 2):
            who.learn_link(each)
        assert who.user_of("p", "A") == user
        assert who.user_of("other", "A") is None


def call(at: int, **body: Any) -> TestRecord:
    """A call of a server, received that many seconds after the first."""
    return raw_call({"messageId": f"m{at}", **body}, at_ms=START_MS + at * 1000, project_id="follow", key_kind="secret")


STORY_OF_CALLS = [
    call(1, type="identify", anonymousId="a-1", userId="ann"),
    call(2, type="alias", userId="ann", previousId="ann@example.com"),
    call(3, type="track", event="$merge", properties={"$distinct_ids": ["ann", "u-17"]}),
]
UNMERGE = call(4, type="track", event="$unmerge", properties={"$distinct_ids": ["u-17", "ann"]})


@contextmanager
def following(system: System) -> Iterator[Callable[[], list[str]]]:
    """The script as a person runs it; gives the lines that it has printed of this project."""
    out = system.folder / f"followed-{uuid4()}"
    script = Path(__file__).parents[2] / "examples/follow_identity.py"
    with out.open("wb") as stdout:
        process = subprocess.Popen([sys.executable, script, system.settings.kafka], stdout=stdout)
    try:
        yield lambda: [line for line in out.read_text().splitlines() if line.startswith("follow: ")]
    finally:
        process.kill()
        process.wait()


def test_follower_of_a_running_system_tells_links_merges_and_their_undoing(system: System) -> None:
    joined = {
        "follow: a-1 is ann",
        "follow: ann@example.com is ann",
        "follow: ann@example.com is the person ann (ann, ann@example.com)",
        "follow: u-17 is the person ann (ann, ann@example.com, u-17)",
    }
    with system.worker(), following(system) as printed:
        system.publish(*STORY_OF_CALLS[:2])
        eventually(lambda: len(printed()) >= 3, "a link and an alias")
        system.publish(*STORY_OF_CALLS[2:])
        eventually(lambda: {*printed()} == joined, f"all that is joined: {printed()}")
        system.publish(UNMERGE, STORY_OF_CALLS[0], STORY_OF_CALLS[2])
        eventually(lambda: printed()[4:] == ["follow: u-17 is the person u-17 (u-17)"], f"it is parted: {printed()}")
        with following(system) as again:
            eventually(lambda: sorted(again()) == sorted(printed()), "the same from the beginning")
