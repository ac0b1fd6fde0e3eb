"""The rows of a batch that claimed their ids, in Python: the oracle of `pipeline/row_table.pyx`, and what stands for it
where whipstitch was installed without a C compiler."""

import numpy as np

from pipeline.receipts import Receipts


class RowTable:
    """Of each id the row that claimed it last."""

    def __init__(self, receipts: Receipts, window_ms: int) -> None:
        self._receipts = receipts
        self._window_ms = window_ms
        self._rows: dict[tuple[int, int], int] = {}

    def claim(self, row: int) -> bool:
        """Claim the id of a row; False where one was received less than a window before, or later, that has it."""
        high, low, received_at_ms = self._receipts.row(row)
        before = self._rows.get((high, low))
        if before is not None and received_at_ms - int(self._receipts.received_at_ms[before]) < self._window_ms:
            return False
        self._rows[high, low] = row
        return True

    def receipts(self) -> Receipts:
        """Of those rows, in any order."""
        return self._receipts.where(np.array([*self._rows.values()], np.intp))
