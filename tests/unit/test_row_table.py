"""The rows of a batch that claimed their ids, compiled and in Python: the same answers."""

from hypothesis import given

from pipeline import row_dict
from pipeline.claims import RowTable
from tests.unit.test_id_table import ROWS, WINDOW_MS, receipts


@given(ROWS)
def test_any_batch_is_claimed_as_in_python(rows: list[tuple[int, int, int]]) -> None:
    batch = receipts(rows)
    compiled, plain = RowTable(batch, WINDOW_MS), row_dict.RowTable(batch, WINDOW_MS)
    assert [compiled.claim(row) for row in range(len(rows))] == [plain.claim(row) for row in range(len(rows))]
    assert compiled.receipts() == plain.receipts()


def test_of_each_id_the_latest_claim_is_told() -> None:
    batch = receipts([(7, 1, 0), (7, 2, 0), (7, 1, 1), (7, 1, 2), (8, 1, 0)])
    table = RowTable(batch, WINDOW_MS)
    assert [table.claim(row) for row in range(4)] == [True, True, False, True]
    assert table.receipts() == receipts([(7, 1, 2), (7, 2, 0)])
