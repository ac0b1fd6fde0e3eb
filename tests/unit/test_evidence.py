"""What one message says of who is who, by the rules for aliases, merges and ids that name nobody."""

from collections.abc import Mapping

import pytest

from pipeline.evidence import Evidence, evidence
from pipeline.rules import Rules
from pipeline.validate import validate
from tests.records import raw_call
from topics.control import Project
from topics.links import LinkKind
from topics.raw import Dialect
from topics.rejected import Reason
from topics.stitched import StitchedEvent

RULES = Rules([Project("p", 0, blocked_ids=("tester",))], max_event_bytes=32 * 1024)
DEVICE = "6ba7b812-9dad-41d1-80b4-00c04fd430c8"


def said(body: Mapping[str, object], key_kind: str = "secret", **stamp: object) -> Evidence:
    event = validate(raw_call({**body}, key_kind=key_kind, **stamp), RULES)  # type: ignore[arg-type]
    assert isinstance(event, StitchedEvent), event
    return evidence(event, RULES.of("p"))


def alias(previous_id: object, user_id: object, key_kind: str = "secret", **ids: object) -> Evidence:
    return said({"type": "alias", "previousId": previous_id, "userId": user_id, **ids}, key_kind)


def track(name: str, key_kind: str = "secret", **fields: object) -> Evidence:
    return said({"type": "track", "event": name, **fields}, key_kind)


def links(given: Evidence) -> list[tuple[str, str | None, LinkKind]]:
    return [(link.anonymous_id, link.user_id, link.kind) for link in given.links]


def edges(given: Evidence) -> list[tuple[str, str, str, str]]:
    return [(edge.kind.value, edge.action.value, edge.from_user_id, edge.to_user_id) for edge in given.edges]


def reasons(given: Evidence) -> list[Reason]:
    return [refused.reason for refused in given.refused]


def test_an_alias_of_an_id_of_unknown_kind_is_a_link_and_an_edge() -> None:
    given = alias("P", "U")
    assert links(given) == [("P", "U", LinkKind.EXACT)]
    assert edges(given) == [("alias", "join", "P", "U")]


def test_an_alias_of_the_messages_own_anonymous_id_is_a_link_only() -> None:
    given = alias("A", "U", anonymousId="A")
    assert (links(given), edges(given), reasons(given)) == ([("A", "U", LinkKind.EXACT)], [], [])


def test_an_alias_with_another_anonymous_id_links_that_one_too() -> None:
    given = alias("P", "U", anonymousId="A")
    assert links(given) == [("A", "U", LinkKind.IMPLICIT), ("P", "U", LinkKind.EXACT)]
    assert edges(given) == [("alias", "join", "P", "U")]


def test_an_alias_of_a_user_to_itself_ties_nobody() -> None:
    assert edges(alias("U", "U")) == []


@pytest.mark.parametrize(("previous_id", "user_id"), [("null", "U"), ("P", "undefined"), ("Tester ", "U")])
def test_an_alias_with_a_blocked_id_says_nothing_and_is_refused_once(previous_id: str, user_id: str) -> None:
    given = alias(previous_id, user_id)
    assert (links(given), edges(given), reasons(given)) == ([], [], [Reason.BLOCKED_ID])


def test_a_blocked_previous_id_leaves_what_the_other_two_say_of_each_other() -> None:
    assert links(alias("null", "U", anonymousId="A")) == [("A", "U", LinkKind.IMPLICIT)]


def test_an_alias_is_taken_back_also_by_a_message_of_that_anonymous_id() -> None:
    given = track("$unalias", userId="U", anonymousId="P", properties={"previousId": "P"})
    assert (links(given), edges(given)) == ([], [("alias", "part", "P", "U")])


def test_a_blocked_anonymous_id_beside_an_alias_takes_nothing_from_it() -> None:
    given = alias("P", "U", anonymousId="null")
    assert edges(given) == [("alias", "join", "P", "U")]
    assert reasons(given) == [Reason.BLOCKED_ID]


def test_a_public_key_links_and_its_edge_is_refused() -> None:
    given = alias("P", "U", "public")
    assert (links(given), edges(given)) == ([("P", "U", LinkKind.EXACT)], [])
    assert reasons(given) == [Reason.NEEDS_SECRET_KEY]


def test_merge_and_unmerge_name_the_smaller_user_first_and_link_nobody() -> None:
    ids = {"$distinct_ids": ["u2", "u1"]}
    assert edges(track("$merge", properties=ids, userId="u1", anonymousId="A")) == [("merge", "join", "u1", "u2")]
    assert edges(track("$unmerge", properties=ids)) == [("merge", "part", "u1", "u2")]
    assert links(track("$merge", properties=ids, userId="u1", anonymousId="A")) == []


def test_a_number_and_its_text_are_one_id() -> None:
    assert track("$merge", properties={"$distinct_ids": [7, "7"]}) == Evidence()
    assert edges(track("$merge", properties={"$distinct_ids": [7, "8"]})) == [("merge", "join", "7", "8")]


def test_a_merge_with_a_blocked_id_is_refused() -> None:
    given = track("$merge", properties={"$distinct_ids": ["u", "null"]})
    assert (edges(given), reasons(given)) == ([], [Reason.BLOCKED_ID])


def test_unalias_parts_an_edge_and_links_nobody() -> None:
    given = track("$unalias", properties={"userId": "U", "previousId": "P"}, anonymousId="A")
    assert (links(given), edges(given)) == ([], [("alias", "part", "P", "U")])
    assert reasons(track("$unalias", "public", userId="U", previousId="P")) == [Reason.NEEDS_SECRET_KEY]


@pytest.mark.parametrize("ids", [{"userId": "null", "anonymousId": "A"}, {"userId": "U", "anonymousId": "[]"}])
def test_a_blocked_id_of_any_event_links_nobody_and_is_refused(ids: dict[str, object]) -> None:
    given = said({"type": "identify", **ids})
    assert (links(given), reasons(given)) == ([], [Reason.BLOCKED_ID])


def test_the_original_identify_of_mixpanel_counts_as_the_first_only() -> None:
    original = {"event": "$identify", "properties": {"$identified_id": "U", "$anon_id": DEVICE, "token": "t"}}
    simplified = {"event": "$identify", "properties": {"$user_id": "U", "$device_id": DEVICE, "distinct_id": "U"}}
    [first], [exact] = (said(body, dialect=Dialect.MIXPANEL, call="track").links for body in (original, simplified))
    assert (first.kind, exact.kind) == (LinkKind.FIRST, LinkKind.EXACT)


def test_an_ordinary_event_says_nothing() -> None:
    assert track("E", anonymousId="A") == track("E", userId="U") == Evidence()
