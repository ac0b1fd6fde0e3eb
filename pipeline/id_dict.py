"""The newest of the ids that were seen, in Python: the oracle of `pipeline/id_table.pyx`, and what stands for it where
whipstitch was installed without a C compiler."""

import numpy as np
import numpy.typing as npt

from pipeline.receipts import Receipts


class IdTable:
    """Ids, each with its newest receipt in Unix milliseconds."""

    def __init__(self, room: int = 0) -> None:
        """`room`: for so many it need not be enlarged."""
        self._received_at_ms: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._received_at_ms)

    def mark(self, receipts: Receipts, window_ms: int, known: npt.NDArray[np.uint8]) -> None:
        """Set those of `known` to 1 whose id is here, received less than a window before, or later."""
        for row in range(len(receipts)):
            high, low, received_at_ms = receipts.row(row)
            if self._has(high, low, received_at_ms, window_ms):
                known[row] = 1

    def claim(self, high: int, low: int, received_at_ms: int, window_ms: int) -> bool:
        """Take an id in; False where `mark` would mark it, and then nothing changes."""
        if self._has(high, low, received_at_ms, window_ms):
            return False
        self._received_at_ms[high, low] = received_at_ms
        return True

    def claim_all(self, receipts: Receipts, window_ms: int) -> None:
        """Claim one after another."""
        for row in range(len(receipts)):
            self.claim(*receipts.row(row), window_ms)

    def receipts(self) -> Receipts:
        """All that is here, in any order; in compiled code by `high`, as a slice has them."""
        ids = np.array([*self._received_at_ms], np.uint64).reshape(-1, 2)
        received_at_ms = np.array([*self._received_at_ms.values()], np.int64)
        return Receipts(ids[:, 0].copy(), ids[:, 1].copy(), received_at_ms)

    def _has(self, high: int, low: int, received_at_ms: int, window_ms: int) -> bool:
        first_ms = self._received_at_ms.get((high, low))
        return first_ms is not None and received_at_ms - first_ms < window_ms
