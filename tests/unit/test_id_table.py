"""The table of the newest ids, compiled and in Python: the same answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import id_dict
from pipeline.dedupe import IdTable
from pipeline.receipts import Receipts

TABLES = pytest.mark.parametrize("table", [IdTable, id_dict.IdTable])
# Some that share a half, some that want the same place, at the ends of the table and within.
HALVES = st.sampled_from([0, 1, 2, 1 << 63, (1 << 63) + 1, (1 << 64) - 2, (1 << 64) - 1])
ROWS = st.lists(st.tuples(HALVES, HALVES, st.integers(-3, 3)), max_size=60)
WINDOW_MS = 2


def receipts(rows: list[tuple[int, int, int]]) -> Receipts:
    made = Receipts.blank(len(rows))
    for at, (high, low, received_at_ms) in enumerate(rows):
        made.high[at], made.low[at], made.received_at_ms[at] = high, low, received_at_ms
    return made


def marks(table: id_dict.IdTable, asked: Receipts) -> list[int]:
    known = np.zeros(len(asked), np.uint8)
    table.mark(asked, WINDOW_MS, known)
    return [int(mark) for mark in known]


@given(ROWS, ROWS)
def test_any_ids_get_the_same_answers_as_in_python(
    first: list[tuple[int, int, int]], then: list[tuple[int, int, int]]
) -> None:
    compiled, plain = IdTable(), id_dict.IdTable()
    claimed = [(compiled.claim(*row, WINDOW_MS), plain.claim(*row, WINDOW_MS)) for row in first]
    assert all(one == other for one, other in claimed)
    assert marks(compiled, receipts(then)) == marks(plain, receipts(then))
    compiled.claim_all(receipts(then), WINDOW_MS)
    plain.claim_all(receipts(then), WINDOW_MS)
    assert (len(compiled), compiled.receipts()) == (len(plain), plain.receipts())
    assert [*compiled.receipts().high] == sorted(plain.receipts().high)


@TABLES
def test_a_table_that_grows_keeps_all(table: type[id_dict.IdTable]) -> None:
    numbers = np.random.default_rng(7).integers(1 << 63, size=(2, 20_000)).astype(np.uint64)
    many = Receipts(numbers[0] << np.uint64(1), numbers[1], np.arange(20_000))
    grown = table()
    grown.claim_all(many, WINDOW_MS)
    assert (len(grown), grown.receipts(), all(marks(grown, many))) == (20_000, many, True)
    others = Receipts(many.high, many.low + np.uint64(1), many.received_at_ms)
    assert not any(marks(grown, others))


@TABLES
def test_what_lies_in_read_only_memory_is_read(table: type[id_dict.IdTable]) -> None:
    mapped = receipts([(1, 2, 3)])
    for column in (mapped.high, mapped.low, mapped.received_at_ms):
        column.flags.writeable = False
    read = table()
    read.claim_all(mapped, WINDOW_MS)
    assert read.receipts() == mapped
