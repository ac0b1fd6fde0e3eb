"""Which records of a batch are the first of their ids: new to what was seen before, and to the batch itself."""

from pipeline.dedupe import IdTable, SeenIds
from pipeline.dedupe_slice import Receipts


class Claims:
    """`known` says of each row of `receipts` whether it was known before the batch, and `claimed` has what the batch
    brings. Nothing that is passed in is changed."""

    __slots__ = ("claimed", "known", "receipts", "window_ms")

    def __init__(self, seen: SeenIds, receipts: Receipts) -> None:
        self.receipts = receipts
        # All ids are looked for at once, which costs a tenth of one after another.
        self.known = seen.known(receipts)
        self.claimed = IdTable(len(receipts))
        self.window_ms = seen.window_ms

    def claim(self, row: int) -> bool:
        """Claim the id of an event; False where it is a duplicate."""
        high, low, received_at_ms = self.receipts.row(row)
        return not self.known[row] and self.claimed.claim(high, low, received_at_ms, self.window_ms)
