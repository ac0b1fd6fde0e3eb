"""The audit's arithmetic: sets are told apart, and every message is accounted for once."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.audit import (
    HOUR_MS,
    MINUTE_MS,
    Found,
    Message,
    Report,
    Slice,
    Tally,
    Window,
    differing,
    message_hash,
    place_id,
    ranges,
    settle_missing,
    settle_unexpected,
)
from pipeline.audit_records import ForgottenIds, Whose, letter_message, raw_message, stitched_message, whose
from pipeline.audit_spill import FILES, Received
from pipeline.dead_letters import dead_letter
from pipeline.outcome import Rejected
from pipeline.person import person_id
from pipeline.rules import Rules
from tests.records import START_MS, TestRecord, raw_call
from tests.rows import event_row
from topics.control import Forgotten
from topics.names import LINKS, STITCHED
from topics.orders import Forget, order_record
from topics.rejected import Reason, Step

DAY = Window(0, 24 * HOUR_MS)
RULES = Rules((), max_event_bytes=32_768)
receipts = st.lists(
    st.tuples(
        st.sampled_from(["p", "q"]), st.sampled_from([f"m{n}" for n in range(30)]), st.integers(-10, 26 * HOUR_MS),
        st.booleans(),
    ),
    max_size=60,
)  # fmt: skip


def received(folder: Path, window: Window, messages: list[tuple[str, str, int, bool]]) -> Received:
    taken = Received(folder, window)
    for project_id, message_id, at_ms, is_under_way in messages:
        taken.add(project_id, message_id, at_ms, is_under_way=is_under_way)
    taken.close()
    return taken


@settings(max_examples=30)  # each opens 256 files
@given(receipts, st.sampled_from([None, "p"]))
def test_each_message_is_counted_once_at_its_first_receipt_in_the_window(
    messages: list[tuple[str, str, int, bool]], project_id: str | None
) -> None:
    window = Window(0, 24 * HOUR_MS, project_id)
    firsts: dict[tuple[str, str], int] = {}
    under_way = set()
    for project, message_id, at_ms, is_under_way in messages:
        if 0 <= at_ms < 24 * HOUR_MS and project_id in {None, project}:
            name = (project, message_id)
            firsts[name] = min(at_ms, firsts.get(name, at_ms))
            under_way |= {name} if is_under_way else set()
    expected: dict[Slice, Tally] = {}
    for (project, message_id), at_ms in firsts.items():
        tally = expected.setdefault(Slice(project, at_ms - at_ms % MINUTE_MS), Tally())
        if (project, message_id) in under_way:
            tally.under_way += 1
        else:
            tally.messages += 1
            tally.hash_sum += int.from_bytes(message_hash(project, message_id), "little")
    with tempfile.TemporaryDirectory() as folder:
        assert received(Path(folder), window, messages).tallies() == expected


@given(st.sets(st.text(max_size=5)), st.sets(st.text(max_size=5)))
def test_slices_differ_exactly_where_their_sets_do(one: set[str], other: set[str]) -> None:
    def side(ids: set[str]) -> dict[Slice, Tally]:
        sums = sum(int.from_bytes(message_hash("p", id_), "little") for id_ in ids)
        return {Slice("p", 0): Tally(len(ids), sums % 2**128)} if ids else {}

    assert bool(differing(side(one), side(other))) == (one != other)


@given(st.sets(st.integers(0, 5000), max_size=400))
def test_ranges_cover_every_slice_and_are_few(minutes: set[int]) -> None:
    covered = ranges([Slice("p", minute * MINUTE_MS) for minute in minutes], MINUTE_MS)
    assert len(covered) <= 100
    assert all(any(start <= minute * MINUTE_MS < end for start, end in covered) for minute in minutes)
    assert covered == sorted(covered)
    if len(minutes) <= 100:
        assert sum(end - start for start, end in covered) == len(minutes) * MINUTE_MS


def test_a_long_window_is_cut_into_hours() -> None:
    assert Window(0, 48 * HOUR_MS).slice_ms == MINUTE_MS
    assert Window(0, 49 * HOUR_MS).slice_ms == HOUR_MS


MISSING = [
    (Found(), "missing"),
    (Found("stored", rows=1, first_at_ms=5), "stored"),
    (Found("rejected", first_at_ms=5), "rejected"),
    (Found("dropped", first_at_ms=5), "dropped"),
    (Found(is_under_way=True, is_forgotten=True), "under_way"),
    (Found(is_forgotten=True, is_in_kafka=True), "forgotten"),
]


@pytest.mark.parametrize(("found", "expected"), MISSING, ids=[expected for _, expected in MISSING])
def test_what_its_slice_lacks_is_counted_as_what_became_of_it(found: Found, expected: str) -> None:
    report = Report()
    settle_missing(report, Message("p", "m", 7), found, DAY)
    [(_, _, count)] = report.rows()
    numbers = (
        "received",
        "stored",
        "rejected",
        "dropped",
        "forgotten",
        "under_way",
        "missing",
        "unexpected",
        "doubled",
    )
    assert {name: getattr(count, name) for name in numbers if getattr(count, name)} == {expected: 1}
    assert report.is_equal == (expected != "missing")


def test_a_repeat_of_what_came_before_the_window_is_taken_back() -> None:
    report = Report()
    report.at("p", HOUR_MS).received = 1
    settle_missing(report, Message("p", "m", HOUR_MS), Found("stored", 1, HOUR_MS - 1), Window(HOUR_MS, 2 * HOUR_MS))
    assert report.at("p", HOUR_MS).received == 0


@pytest.mark.parametrize(
    ("found", "unexpected", "doubled"),
    [
        (Found("stored", 1, 7), 1, 0),
        (Found("stored", 1, 7, is_in_kafka=True), 0, 0),
        (Found("stored", 3, 7, is_in_kafka=True), 0, 2),
        (Found("rejected", 0, 7), 1, 0),
    ],
)
def test_what_the_store_has_too_much_is_unexpected_or_doubled(found: Found, unexpected: int, doubled: int) -> None:
    report = Report()
    settle_unexpected(report, Message("p", "m", 7), found)
    assert (report.at("p", 7).unexpected, report.at("p", 7).doubled) == (unexpected, doubled)


def test_what_came_behind_the_first_reading_is_counted_with_what_became_of_it() -> None:
    report = Report()
    settle_unexpected(report, Message("p", "m", 7), Found("stored", 1, 7, is_in_kafka=True, is_late=True))
    assert (report.at("p", 7).received, report.at("p", 7).stored, report.is_equal) == (1, 1, True)


def test_samples_are_few_and_a_place_is_written_out() -> None:
    report = Report()
    settle_missing(report, Message("", place_id(3, 17), 7), Found(), DAY)
    for n in range(100):
        settle_missing(report, Message("", f"m{n}", 7), Found(), DAY)
    assert report.at("", 7).missing == 101
    assert report.at("", 7).missing_ids[:2] == ["events.raw:3:17", "m0"]
    assert len(report.at("", 7).missing_ids) == 10


def letter(record: TestRecord, step: Step, reason: Reason) -> TestRecord:
    key, value, timestamp, headers = dead_letter(record, Rejected(step, reason, "why"))
    return TestRecord(value, headers, key, timestamp=timestamp)


def test_a_record_and_its_outputs_stand_for_the_same_message() -> None:
    record = raw_call({"anonymousId": "A", "messageId": "m"}, at_ms=START_MS + 1)
    message = Message("p", "m", START_MS + 1)
    stitched = TestRecord(event_row(message_id="m", received_at=(START_MS + 1) / 1000), topic=STITCHED)
    assert raw_message(record) == message
    assert stitched_message(stitched) == message
    assert letter_message(letter(record, "validate", Reason.MISSING_ID)) == message
    assert letter_message(letter(stitched, "sink", Reason.STORE_REFUSED)) == message


def test_a_record_without_a_stamp_goes_by_its_place_whatever_its_body_says() -> None:
    record = TestRecord(b'{"messageId":"m"}', partition=3, offset=17)
    message = Message("", place_id(3, 17), START_MS)
    assert raw_message(record) == message
    assert letter_message(letter(record, "validate", Reason.NO_STAMP)) == message


def test_what_stands_for_no_message_is_left_out() -> None:
    key, value, at_ms, headers = order_record(Forget("p", "A", ("U",)), START_MS)
    assert isinstance(raw_message(TestRecord(value, headers, key, timestamp=at_ms)), Forget)
    assert letter_message(letter(raw_call({"anonymousId": "A"}), "link", Reason.BLOCKED_ID)) is None
    assert letter_message(letter(TestRecord(b"{}", topic=LINKS), "sink", Reason.STORE_REFUSED)) is None
    assert stitched_message(TestRecord(b"not a row", topic=STITCHED)) is None


def test_forgotten_ids_cover_what_came_before_and_nobody_else() -> None:
    forgotten = ForgottenIds([Forgotten("p", str(person_id("p", "V", None)), 100)])
    forgotten.learn(Forget("p", "A", ("U",)), 100)
    forgotten.learn(Forget("p", "A", ("U",)), 50)
    covered = [Whose("p", "U", None, 100), Whose("p", None, "A", 100), Whose("p", "V", "B", 100)]
    others = [
        Whose("p", "U", None, 101), Whose("q", "U", None, 100), Whose("p", "W", "A", 100), Whose("p", None, "B", 1),
        Whose("p", None, None, 1),
    ]  # fmt: skip
    assert [each for each in covered + others if forgotten.cover(each)] == covered


def test_whose_an_event_is_says_the_event_itself_whether_it_was_taken_or_refused() -> None:
    assert whose(raw_call({"type": "track", "event": "E", "userId": "U"}), RULES) == Whose("p", "U", None, START_MS)
    refused = raw_call({"type": "never", "userId": "U", "anonymousId": "A"})
    assert whose(refused, RULES) == Whose("p", "U", "A", START_MS)
    assert whose(TestRecord(b"?"), RULES) == Whose("", None, None, START_MS)


def test_every_hash_has_its_file(tmp_path: Path) -> None:
    taken = received(tmp_path, DAY, [("p", f"m{n}", n, False) for n in range(2000)])
    assert sum(len(taken.entries(first)) for first in range(FILES)) == 2000
    assert all(digest[0] == first for first in range(FILES) for digest in taken.entries(first))
