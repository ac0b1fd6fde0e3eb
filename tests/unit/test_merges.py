"""The merge agent's decision: only what differs from what is published is published."""

from collections.abc import Iterable

from pipeline.merges import MergeDecision, Merges
from pipeline.person import person_id
from pipeline.rules import Rules
from tests.records import TestRecord
from topics import edges, persons
from topics.control import Project
from topics.edges import EdgeAction, EdgeFact, EdgeKind
from topics.persons import PersonChange, PersonStep, Standing
from topics.records import Record

RULES = Rules([], max_event_bytes=1000)


def merge(one: str, other: str, at: float, action: EdgeAction = EdgeAction.JOIN) -> TestRecord:
    fact = EdgeFact("p", EdgeKind.MERGE, action, one, other, at, f"m{at:g}", at)
    return TestRecord(edges.encode(fact), key=edges.record_key(fact))


def decided(merges: Merges, *records: TestRecord, rules: Rules = RULES) -> MergeDecision:
    decision = merges.decide(records, rules)
    merges.remember(decision)
    return decision


def changes(decision: MergeDecision) -> list[PersonChange]:
    return [persons.decode_change(value or b"") for _, value, _, _ in decision.changes]


def steps(decision: MergeDecision) -> list[PersonStep]:
    return [persons.decode_step(value) for _, value, _, _ in decision.steps if value is not None]


def as_published(records: Iterable[Record]) -> list[TestRecord]:
    return [TestRecord(value, key=key, offset=n) for n, (key, value, _, _) in enumerate(records)]


def test_a_merge_tells_both_users_who_they_are_now() -> None:
    decision = decided(Merges(), merge("a", "b", 5))
    assert [(each.user_id, each.canonical_user_id, each.since) for each in steps(decision)] == [
        ("a", "a", 5),
        ("b", "a", 5),
    ]
    told = changes(decision)[1]
    assert (told.user_id, told.old_user_id, told.new_user_id, told.members) == ("b", "b", "a", ("a", "b"))
    assert (told.message_id, told.version, told.standing) == ("m5", 1, Standing.JOINED)
    assert (told.old_person_id, told.new_person_id) == (
        str(person_id("p", "b", None)),
        str(person_id("p", "a", None)),
    )


def test_a_repeated_fact_comes_to_nothing() -> None:
    merges = Merges()
    decided(merges, merge("a", "b", 5))
    assert decided(merges, merge("a", "b", 5)) == MergeDecision()


def test_versions_grow_from_change_to_change() -> None:
    merges = Merges()
    versions = [
        each.version
        for record in (merge("a", "b", 5), merge("a", "b", 6, EdgeAction.PART), merge("b", "c", 7))
        for each in changes(decided(merges, record))
    ]
    assert versions == sorted(set(versions))


def test_a_late_fact_that_changes_only_the_past_is_no_change_for_consumers() -> None:
    merges = Merges()
    decided(merges, merge("a", "b", 5))
    decision = decided(merges, merge("a", "b", 3))
    assert sorted(each.since for each in steps(decision)) == [3, 3, 5, 5]
    assert changes(decision) == []


def test_a_restart_publishes_what_an_earlier_run_could_not() -> None:
    facts = [merge("a", "b", 5), merge("b", "c", 6)]
    whole = decided(Merges(), *facts)
    for published in range(len(whole.steps) + 1):
        again = Merges(as_published(whole.steps[:published]), published)
        again.learn(facts)
        assert steps(decided(again, *facts)) == steps(whole)[published:]


def test_a_change_that_was_told_before_a_crash_is_taken_back_where_it_no_longer_holds() -> None:
    merged = decided(Merges(), merge("a", "b", 5))
    again = Merges(told=as_published(merged.changes))
    decision = decided(again, merge("a", "b", 5), merge("a", "b", 6, EdgeAction.PART))
    assert {each.user_id: (each.old_user_id, each.new_user_id) for each in changes(decision)} == {
        "a": ("a", "a"),
        "b": ("a", "b"),
    }
    claimed = Merges(as_published(merged.steps), 2, as_published(merged.changes))
    assert decided(claimed, merge("a", "b", 5)) == MergeDecision()


def test_a_step_that_another_worker_published_of_less_is_put_right() -> None:
    """It had taken in the later merge and not yet the parting that was received before it."""
    early, late, parted = merge("a", "b", 5), merge("b", "c", 7), merge("b", "c", 6, EdgeAction.PART)
    facts_of_less = [early, merge("b", "c", 7)]
    published = decided(Merges(), *facts_of_less).steps
    again = Merges(as_published(published), len(published))
    decision = decided(again, early, late, parted, merge("b", "c", 7.5, EdgeAction.PART))
    assert [(each.user_id, each.since, each.standing) for each in steps(decision)][-1] == ("c", 7.5, Standing.ALONE)


def test_a_forgotten_user_leaves_no_step() -> None:
    merges, record = Merges(), merge("a", "b", 5)
    published = decided(merges, record).steps
    decision = decided(merges, TestRecord(None, key=record.key))
    assert [(key, value) for key, value, _, _ in decision.steps] == [(key, None) for key, _, _, _ in published]
    assert {each.user_id: each.new_user_id for each in changes(decision)} == {"b": "b", "a": "a"}


def test_a_fact_that_is_taken_away_and_stated_again_counts() -> None:
    record, tombstone = merge("a", "b", 5), TestRecord(None, key=merge("a", "b", 5).key)
    together, apart = Merges(), Merges()
    assert len(steps(decided(together, record, tombstone, record))) == 2
    decided(apart, record)
    decided(apart, tombstone)
    assert len(steps(decided(apart, record))) == 2
    changed = merge("a", "c", 5)
    assert changed.key == record.key
    assert {each.user_id for each in steps(decided(together, tombstone, changed))} == {"c"}


def test_facts_gone_from_the_log_leave_no_step_either() -> None:
    published = decided(Merges(), merge("a", "b", 5)).steps
    decision = decided(Merges(as_published(published), 2), TestRecord(None, key=b"p|e:1:x"))
    assert [value for _, value, _, _ in decision.steps] == [None, None]


def test_a_changed_limit_holds_for_what_was_merged_before() -> None:
    merges = Merges()
    decided(merges, merge("a", "b", 5), merge("b", "c", 6))
    narrow = Rules([Project("p", 0, max_users_per_person=2)], max_event_bytes=1000)
    decision = decided(merges, merge("a", "b", 5), rules=narrow)
    assert {(each.user_id, each.since, each.standing) for each in steps(decision)} == {
        (user_id, 6, Standing.SUSPENDED) for user_id in "abc"
    }


def test_garbage_in_the_topic_is_passed_over() -> None:
    garbage = [TestRecord(value, key=value) for value in (b"\xff", b"[]", b"[" * 100_000)]
    merges = Merges(garbage, 3, garbage)
    assert decided(merges, *garbage, TestRecord(None, key=b"\xff|")) == MergeDecision()


def test_projects_never_touch() -> None:
    merges = Merges()
    decided(merges, merge("a", "b", 5))
    fact = EdgeFact("q", EdgeKind.MERGE, EdgeAction.JOIN, "b", "c", 6, "m6", 6)
    decision = decided(merges, TestRecord(edges.encode(fact), key=edges.record_key(fact)))
    assert {(each.project_id, each.canonical_user_id) for each in steps(decision)} == {("q", "b")}
