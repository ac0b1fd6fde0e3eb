"""The rejection limit: a bad deploy stops the worker, a bad client does not."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dead_letters import dead_letter
from pipeline.outcome import Rejected
from pipeline.rejection_limit import Exceeded, RejectionLimit, RejectionRule, Sender, refused_by_sender
from tests.records import TestRecord, raw_call
from topics.records import Record
from topics.rejected import Reason, Step

RULE = RejectionRule(events=1000, share=0.5, alone_s=30)
LOUD = Sender("p", "192.0.2.1")


def senders(count: int, each: int) -> dict[Sender, int]:
    return {Sender("p", f"198.51.100.{n}"): each for n in range(count)}


def after(*batches: tuple[int, Mapping[Sender, int]], every_s: float = 0.1) -> Exceeded | None:
    """What the limit says of these batches, the first time that it says anything."""
    limit = RejectionLimit(RULE, now_s=0.0)
    said = (limit.add(stored, refused, now_s=n * every_s) for n, (stored, refused) in enumerate(batches, start=1))
    return next((exceeded for exceeded in said if exceeded), None)


def test_refusing_most_of_what_many_send_stops() -> None:
    assert after((400, senders(10, 60))) == Exceeded(refused=600, events=1000, senders=10)


def test_refusing_less_than_the_share_of_what_many_send_does_not_stop() -> None:
    assert after(*[(60, senders(10, 5))] * 100) is None


def test_too_few_events_are_no_ground_to_stop() -> None:
    assert after((0, senders(9, 100)), every_s=1) is None


@pytest.mark.parametrize("loud", [100, 10_000])
def test_one_bad_client_however_loud_stops_nothing_while_others_events_are_stored(loud: int) -> None:
    assert after(*[(10, {LOUD: loud})] * 1000, every_s=10) is None


def test_one_bad_client_does_not_stop_within_the_time_that_nobody_else_sends() -> None:
    assert after(*[(0, {LOUD: 1000})] * 299, every_s=0.1) is None


def test_nothing_stored_for_long_stops_even_where_one_sends_all() -> None:
    exceeded = after(*[(0, {LOUD: 1000})] * 301, every_s=0.1)
    assert exceeded is not None
    assert exceeded.senders == 1


def test_an_event_stored_begins_that_time_anew() -> None:
    quiet = [(0, {LOUD: 1000})] * 200
    assert after(*quiet, (1, {}), *quiet, every_s=0.1) is None


def test_few_refusals_over_a_long_time_without_events_do_not_stop() -> None:
    assert after(*[(0, {LOUD: 1})] * 500, every_s=3600) is None


def test_a_loud_client_does_not_hide_a_bad_deploy() -> None:
    assert after(*[(0, {LOUD: 700, **senders(10, 30)})] * 2) is not None


def test_what_lies_further_back_than_the_window_is_forgotten() -> None:
    assert after(*[(0, senders(10, 40)), (1000, senders(0, 0))] * 3) is None


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=40))
def test_the_window_holds_the_last_events_and_no_batch_more(batches: list[tuple[int, int]]) -> None:
    limit = RejectionLimit(RejectionRule(events=1000, share=1.0, alone_s=1e9), 0.0)
    for stored, refused in batches:
        limit.add(stored, {LOUD: refused} if refused else {}, 0.0)
    kept = [batch.events for batch in limit._batches]
    assert sum(kept) == limit._events == limit._accepted + limit._refused.total()
    assert sum(kept[1:]) < 1000
    assert 0 not in kept


def test_the_message_says_what_to_do() -> None:
    assert "whipstitch dead-letters list" in str(Exceeded(600, 1000, 10))


def letter(record: TestRecord, step: Step = "validate", reason: Reason = Reason.MISSING_ID) -> Record:
    return dead_letter(record, Rejected(step, reason, "why"))


def test_senders_are_told_by_project_and_address_and_ties_refused_of_kept_events_do_not_count() -> None:
    letters = [
        letter(raw_call({}, ip="192.0.2.1", offset=1)),
        letter(raw_call({}, ip="192.0.2.1", offset=2)),
        letter(raw_call({}, ip="192.0.2.1", project_id="q", offset=3)),
        letter(raw_call({}, ip="192.0.2.1", offset=4), "link", Reason.BLOCKED_ID),
        letter(TestRecord(value=b"{}"), reason=Reason.NO_STAMP),
    ]
    assert refused_by_sender(letters) == {LOUD: 2, Sender("q", "192.0.2.1"): 1, Sender(None, None): 1}
