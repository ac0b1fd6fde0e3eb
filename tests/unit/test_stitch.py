"""A batch through all steps: who did it, what is a duplicate, what is published."""

import json
import random

from pipeline.decision import Decision
from pipeline.dedupe import SeenIds
from pipeline.rules import Rules
from pipeline.stitch import decide
from tests.records import START_MS, TestRecord, raw_call
from topics import edges, links, stitched
from topics.control import Policy, Project
from topics.links import LinkKind
from topics.orders import ORDER_HEADER, Forget, order_record
from topics.raw import Dialect
from topics.rejected import Reason, read_rejection
from topics.stitched import StitchedEvent

RULES = Rules([], max_event_bytes=32 * 1024)


class World:
    """State between batches, as the agent keeps it."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.seen = SeenIds(86_400)
        self.owners: dict[bytes, bytes] = {}
        self.rules = rules

    def take(self, *records: TestRecord) -> Decision:
        decision = decide(records, self.seen, self.owners, self.rules)
        self.seen.remember_new(decision.claimed)
        for key, value in decision.owners.items():
            if value is None:
                self.owners.pop(key, None)
            else:
                self.owners[key] = value
        return decision


def events(decision: Decision) -> list[StitchedEvent]:
    return [stitched.decode(value or b"") for _, value, _, _ in decision.stitched]


def track(n: int, **fields: object) -> TestRecord:
    return raw_call({"type": "track", "event": "E", "anonymousId": "A", **fields}, at_ms=START_MS + n * 1000, offset=n)


def identify(n: int, user: str, **fields: object) -> TestRecord:
    return raw_call(
        {"type": "identify", "anonymousId": "A", "userId": user, **fields}, at_ms=START_MS + n * 1000, offset=n
    )


def test_an_event_after_the_identify_is_the_users() -> None:
    world = World()
    assert [seen.stitched_user_id for seen in events(world.take(track(1), identify(2, "U"), track(3)))] == [
        None,
        "U",
        "U",
    ]
    assert [seen.stitched_user_id for seen in events(world.take(track(4)))] == ["U"]


def test_an_events_own_user_wins() -> None:
    decision = World().take(identify(1, "U1"), track(2, userId="U2"))
    assert events(decision)[1].stitched_user_id == "U2"


def test_projects_never_touch() -> None:
    other = raw_call(
        {"type": "track", "event": "E", "anonymousId": "A"}, at_ms=START_MS + 5000, project_id="q", offset=5
    )
    assert [seen.stitched_user_id for seen in events(World().take(identify(1, "U"), other))] == ["U", None]


def test_a_message_is_stored_once_within_a_batch_and_between_batches() -> None:
    world = World()
    first = world.take(track(1, messageId="M"), track(2, messageId="M"))
    again = world.take(track(3, messageId="M"))
    assert (len(first.stitched), first.duplicates, len(again.stitched), again.duplicates) == (1, 1, 0, 1)


def test_a_duplicate_states_no_fact() -> None:
    world = World()
    world.take(track(1, messageId="M"))
    assert world.take(identify(2, "U", messageId="M")).links == []


def test_deciding_changes_nothing() -> None:
    seen, owners = SeenIds(86_400), dict[bytes, bytes]()
    first = decide([identify(1, "U"), track(2)], seen, owners, RULES)
    second = decide([identify(1, "U"), track(2)], seen, owners, RULES)
    assert first == second
    assert (len(seen), owners) == (0, {})


def test_facts_are_exact_implicit_or_a_reset() -> None:
    decision = World().take(identify(1, "U"), track(2, userId="U"), track(3, event="$reset"), track(4))
    facts = [links.decode(value or b"") for _, value, _, _ in decision.links]
    assert [(fact.kind, fact.user_id) for fact in facts] == [
        (LinkKind.EXACT, "U"),
        (LinkKind.IMPLICIT, "U"),
        (LinkKind.RESET, None),
    ]
    assert events(decision)[3].stitched_user_id is None


def test_implicit_links_can_be_turned_off() -> None:
    world = World(Rules([Project("p", 0, implicit_links=False)], max_event_bytes=1000))
    assert world.take(track(1, userId="U")).links == []


def test_a_blocked_id_links_nothing() -> None:
    decision = World().take(
        identify(1, "null"), identify(2, "U", anonymousId="undefined"), track(3, anonymousId="undefined")
    )
    assert decision.links == []
    assert [seen.stitched_user_id for seen in events(decision)] == [None, "U", None]


def test_a_refused_record_becomes_a_dead_letter_that_keeps_everything() -> None:
    record = TestRecord(value=b"\xffgarbage", headers=(("x", b"y"),), key=b"k", partition=3, offset=17)
    [(key, value, timestamp, headers)] = World().take(record).rejected
    assert (key, value, timestamp, headers[:1]) == (b"k", b"\xffgarbage", START_MS, (("x", b"y"),))
    rejection = read_rejection(headers)
    assert (rejection.source_topic, rejection.source_partition, rejection.source_offset) == ("events.raw", 3, 17)
    assert (rejection.step, rejection.reason, rejection.rejected_at_ms) == ("validate", Reason.NO_STAMP, START_MS)
    assert rejection.detail


def test_a_refused_message_does_not_claim_its_id() -> None:
    world = World()
    world.take(raw_call({"type": "track", "anonymousId": "A", "messageId": "M"}))
    assert len(world.take(track(2, messageId="M")).stitched) == 1


def test_output_keeps_key_and_time_so_that_partitions_and_replays_agree() -> None:
    record = track(7)
    [(key, _, timestamp, _)] = World().take(record).stitched
    assert (key, timestamp) == (record.key, record.timestamp)


def test_the_rows_are_json_with_the_raw_event_inside() -> None:
    record = track(1, properties={"a": 1})
    [(_, value, _, _)] = World().take(record).stitched
    row = json.loads(value or b"")
    assert row["raw"] == json.loads(record.value or b"")
    assert row["timestamp"] == START_MS / 1000 + 1


def test_any_split_into_batches_gives_the_same_rows_and_state() -> None:
    pick = random.Random(3)
    records = [
        pick.choice(
            [track(n), identify(n, pick.choice("UVW")), track(n, messageId=f"again{n // 3}"), track(n, event="$reset")]
        )
        for n in range(60)
    ]
    whole = World()
    expected = whole.take(*records)
    for size in (1, 7, 32):
        world, rows = World(), list[bytes | None]()
        for start in range(0, len(records), size):
            rows += [value for _, value, _, _ in world.take(*records[start : start + size]).stitched]
        assert rows == [value for _, value, _, _ in expected.stitched]
        assert world.owners == whole.owners


def forget(n: int, *users: str) -> TestRecord:
    key, value, _, headers = order_record(Forget("p", "A", users), START_MS)
    return TestRecord(value=value, headers=headers, key=key, offset=n)


def test_an_order_to_forget_takes_the_user_out_of_the_table_and_is_no_event() -> None:
    world = World()
    world.take(identify(1, "U1"), identify(2, "U2"))
    decision = world.take(forget(3, "U1"))
    assert (decision.stitched, decision.rejected) == ([], [])
    assert b"U1" not in b"".join(world.owners.values())
    world.take(forget(4, "U2"))
    assert world.owners == {}


def test_an_edge_goes_to_its_projects_own_record() -> None:
    decision = World().take(
        raw_call({"type": "alias", "previousId": "P", "userId": "U", "messageId": "M"}, key_kind="secret")
    )
    [(key, value, _, _)] = decision.edges["p"]
    assert key == f"p|e:{START_MS}:M".encode()
    assert edges.decode(value or b"").to_user_id == "U"


def test_what_a_message_says_of_another_anonymous_id_is_published_and_not_kept_here() -> None:
    decision = World().take(raw_call({"type": "alias", "previousId": "P", "userId": "U"}, key_kind="secret"))
    assert len(decision.links) == 1
    assert decision.owners == {}


def test_an_event_of_which_a_part_is_refused_is_stored_and_has_a_dead_letter() -> None:
    decision = World().take(identify(1, "null"))
    [(_, _, _, headers)] = decision.rejected
    rejection = read_rejection(headers)
    assert (rejection.step, rejection.reason) == ("link", Reason.BLOCKED_ID)
    assert [seen.user_id for seen in events(decision)] == [None]


def test_mixpanels_second_identify_of_a_device_is_kept_and_its_link_is_refused() -> None:
    device = "6ba7b812-9dad-41d1-80b4-00c04fd430c8"
    both = [
        raw_call(
            {"event": "$identify", "properties": {"$identified_id": user, "$anon_id": device, "token": "t"}},
            at_ms=START_MS + n,
            offset=n,
            dialect=Dialect.MIXPANEL,
            call="track",
        )
        for n, user in enumerate(("U1", "U2"))
    ]
    decision = World().take(*both)
    assert len(decision.stitched) == 2
    assert [read_rejection(headers).reason for _, _, _, headers in decision.rejected] == [Reason.ALREADY_MERGED]


def test_the_policy_of_the_project_decides_at_write_time_too() -> None:
    def owner(policy: Policy) -> str | None:
        world = World(Rules([Project("p", 0, policy=policy)], max_event_bytes=1000))
        world.take(identify(1, "U1"), identify(5, "U2"))
        return events(world.take(track(3)))[0].stitched_user_id

    policies: tuple[Policy, ...] = ("interval", "first_wins", "last_wins", "isolate")
    # The track is stamped 3 s and comes last: who owns the id then is what the policies differ about.
    assert [owner(policy) for policy in policies] == ["U1", "U1", "U2", None]


def test_an_order_that_cannot_be_read_is_a_dead_letter() -> None:
    for value in (b"{", b"[" * 100_000):
        decision = World().take(TestRecord(value=value, headers=((ORDER_HEADER, b""),), key=b"p|a:A"))
        assert [read_rejection(headers).reason for _, _, _, headers in decision.rejected] == [Reason.NO_STAMP]
