"""The search in a slice of ids, compiled and in numpy: the same answers."""

import numpy as np
from hypothesis import given

from pipeline import id_search_numpy
from pipeline.dedupe_slice import add_to_filter, filter_words, mark_repeated
from pipeline.receipts import U64, Receipts
from tests.unit.test_id_table import ROWS, WINDOW_MS, receipts


def marks(words: U64, held: Receipts, asked: Receipts) -> list[int]:
    known = np.zeros(len(asked), np.uint8)
    mark_repeated(words, held, asked, WINDOW_MS, known)
    by_numpy = np.zeros(len(asked), np.uint8)
    id_search_numpy.mark_repeated(words, held, asked, WINDOW_MS, by_numpy)
    assert [*known] == [*by_numpy]
    return [int(mark) for mark in known]


def is_repeated(held: list[tuple[int, int, int]], asked: tuple[int, int, int]) -> bool:
    return any(row[:2] == asked[:2] and asked[2] - row[2] < WINDOW_MS for row in held)


@given(ROWS, ROWS)
def test_any_id_is_marked_that_was_received_within_the_window(
    held: list[tuple[int, int, int]], asked: list[tuple[int, int, int]]
) -> None:
    slice_ = receipts(sorted(held))
    assert marks(filter_words(slice_), slice_, receipts(asked)) == [is_repeated(held, row) for row in asked]


def random_ids(count: int, seed: int) -> Receipts:
    high, low = np.random.default_rng(seed).integers(1 << 64, size=(2, count), dtype=np.uint64)
    return Receipts(np.sort(high), low, np.zeros(count, np.int64))


def test_of_many_ids_all_are_found_and_no_others() -> None:
    held, others = random_ids(20_000, seed=7), random_ids(20_000, seed=8)
    words = filter_words(held)
    assert all(marks(words, held, held))
    assert not any(marks(words, held, others))


def test_a_filter_is_the_same_made_either_way() -> None:
    held = random_ids(20_000, seed=7)
    compiled, by_numpy = np.zeros(7_000, np.uint64), np.zeros(7_000, np.uint64)
    add_to_filter(compiled, held)
    id_search_numpy.add_to_filter(by_numpy, held)
    assert [*compiled] == [*by_numpy]


def test_a_filter_says_perhaps_of_few_others() -> None:
    others = random_ids(60_000, seed=8)
    perhaps = marks(filter_words(random_ids(60_000, seed=7)), others, others)  # all that it does not rule out is found
    assert sum(perhaps) < 60_000 / 400
