"""What is known of an id: by its window, whatever became of the table that held it first."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.claims import Claims
from pipeline.dedupe import SLACK_S, SeenIds, seen_id
from pipeline.receipts import Receipts

WINDOW_S = 100.0
ID = seen_id("p", "m")
KEPT_AS = pytest.mark.parametrize("seal_at", [16_384, 1], ids=["in the table", "in a slice"])


class PlainSeenIds:
    """The oracle: nothing is ever forgotten."""

    def __init__(self, window_s: float) -> None:
        self.window_ms = round(window_s * 1000)
        self.received_at_ms: dict[bytes, int] = {}

    def has(self, this_id: bytes, received_at: float) -> bool:
        first_ms = self.received_at_ms.get(this_id)
        return first_ms is not None and round(received_at * 1000) - first_ms < self.window_ms

    def remember(self, this_id: bytes, received_at: float) -> None:
        if not self.has(this_id, received_at):
            self.received_at_ms[this_id] = round(received_at * 1000)


def remembered(*received_at: float, seal_at: int = 16_384) -> SeenIds:
    seen = SeenIds(WINDOW_S, seal_at=seal_at)
    for at in received_at:
        seen.remember(ID, at)
    return seen


def is_known(seen: SeenIds, ids: list[bytes], received_at: list[float]) -> list[bool]:
    return [bool(known) for known in seen.known(Receipts.of(ids, received_at))]


def numbered(*numbers: int) -> list[bytes]:
    return [seen_id("p", str(n)) for n in numbers]


@KEPT_AS
def test_an_id_is_new_until_it_is_remembered(seal_at: int) -> None:
    seen = SeenIds(WINDOW_S, seal_at=seal_at)
    assert not seen.has(ID, 1000.0)
    seen.remember(ID, 1000.0)
    assert seen.has(ID, 1000.0)


@KEPT_AS
@pytest.mark.parametrize("first_s", [0.0, 1000.001, 1_790_000_000.123, 1_790_000_000.999])
def test_the_window_ends_to_the_millisecond(first_s: float, seal_at: int) -> None:
    seen = remembered(first_s, seal_at=seal_at)
    first_ms, window_ms = round(first_s * 1000), round(WINDOW_S * 1000)
    assert seen.has(ID, (first_ms + window_ms - 1) / 1000)
    assert not seen.has(ID, (first_ms + window_ms) / 1000)
    assert not seen.has(ID, (first_ms + window_ms + 1) / 1000)


@KEPT_AS
def test_a_repeat_does_not_prolong_the_window(seal_at: int) -> None:
    assert not remembered(1000.0, 1050.0, seal_at=seal_at).has(ID, 1100.0)


@KEPT_AS
def test_a_repeat_after_the_window_starts_a_new_one(seal_at: int) -> None:
    seen = remembered(1000.0, 1100.0, seal_at=seal_at)
    assert seen.has(ID, 1199.999)
    assert not seen.has(ID, 1200.0)


@KEPT_AS
def test_a_clock_that_jumped_back_still_finds_the_repeat(seal_at: int) -> None:
    assert remembered(1000.0, seal_at=seal_at).has(ID, 10.0)


@KEPT_AS
def test_a_receipt_that_is_no_instant_does_no_harm(seal_at: int) -> None:
    seen = remembered(1e308, seal_at=seal_at)
    seen.remember(numbered(1)[0], -1e308)
    assert is_known(seen, [ID, *numbered(1)], [1000.0, 1000.0]) == [True, False]


def test_an_id_that_comes_twice_in_one_batch_has_the_window_of_the_first() -> None:
    seen = SeenIds(WINDOW_S)
    seen.remember_all(Receipts.of([ID, ID], [1000.0, 1050.0]))
    assert not seen.has(ID, 1100.0)


def test_what_repeats_within_a_batch_is_told_by_the_same_window() -> None:
    claims = Claims(SeenIds(WINDOW_S), Receipts.of([ID, ID, ID], [1000.001, 1100.0, 1100.001]))
    assert [claims.claim(row) for row in range(3)] == [True, False, True]


def test_projects_do_not_share_ids() -> None:
    assert seen_id("p1", "m") != seen_id("p2", "m")
    assert seen_id("p", "1m") != seen_id("p1", "m")


def test_an_empty_batch_knows_and_remembers_nothing() -> None:
    seen = remembered(1000.0, seal_at=1)
    seen.remember_all(Receipts.blank(0))
    assert (is_known(seen, [], []), len(seen)) == ([], 1)


def test_asking_remembers_nothing() -> None:
    seen = SeenIds(WINDOW_S)
    seen.known(Receipts.of(numbered(*range(10)), [1000.0] * 10))
    assert len(seen) == 0


@pytest.mark.parametrize("differs_at", [7, 8, 15])
def test_ids_that_share_any_part_are_told_apart(differs_at: int) -> None:
    others = [ID[:differs_at] + bytes([ID[differs_at] ^ n]) + ID[differs_at + 1 :] for n in range(1, 200)]
    seen = SeenIds(WINDOW_S, seal_at=len(others))
    seen.remember_all(Receipts.of(others, [1000.0] * len(others)))
    assert all(is_known(seen, others, [1000.0] * len(others)))
    assert not seen.has(ID, 1000.0)


def test_what_is_long_past_the_window_is_forgotten() -> None:
    seen = SeenIds(WINDOW_S, seal_at=100)
    for n in range(20_000):
        seen.remember_new(Receipts.of(numbered(n), [float(n)]))
    assert len(seen) < 2 * (WINDOW_S + SLACK_S)


def test_a_few_receipts_from_a_clock_far_ahead_end_nobodys_window() -> None:
    seen = SeenIds(WINDOW_S, seal_at=10)
    seen.remember_all(Receipts.of(numbered(*range(10)), [1000.0] * 10))
    seen.remember_all(Receipts.of(numbered(*range(10, 20)), [1_000_000.0] * 4 + [1001.0] * 6))
    assert all(is_known(seen, numbered(*range(10)), [1099.0] * 10))


@given(
    seed=st.integers(0, 2**32),
    window_s=st.sampled_from([0.001, 7.5, 3600.0, 86_400.0]),
    seal_at=st.sampled_from([1, 5, 40]),
    different=st.sampled_from([5, 300, 100_000]),
)
@settings(max_examples=60)
def test_any_batches_get_the_answers_of_a_plain_dict(seed: int, window_s: float, seal_at: int, different: int) -> None:
    seen, plain, now_s = SeenIds(window_s, seal_at=seal_at), PlainSeenIds(window_s), 1_790_000_000.0
    picks = random.Random(seed)
    for _ in range(60):
        now_s += picks.choice([0.0, 0.001, 1.0, window_s / 8, window_s])
        ids = numbered(*(picks.randrange(different) for _ in range(picks.randrange(30))))
        # to the millisecond at the window's end, and out of order by up to what ids are kept for longer
        received_at = [round(now_s - picks.choice([0.0, 0.001, SLACK_S * picks.random()]), 3) for _ in ids]
        assert is_known(seen, ids, received_at) == list(map(plain.has, ids, received_at))
        for this_id, at in zip(ids, received_at, strict=True):
            plain.remember(this_id, at)
        seen.remember_all(Receipts.of(ids, received_at))
