"""Which records of a batch are the first of their ids: new to what was seen before, and to the batch itself."""

from pipeline.dedupe import SeenIds
from pipeline.receipts import Receipts

try:
    from pipeline.row_table import RowTable as RowTable
except ImportError:  # whipstitch was installed where there is no C compiler
    from pipeline.row_dict import RowTable as RowTable


class Claims:
    """`known` says of each row of `receipts` whether it was known before the batch, and `claimed` has the rows that are
    new. Nothing that is passed in is changed."""

    __slots__ = ("claimed", "known")

    def __init__(self, seen: SeenIds, receipts: Receipts) -> None:
        # All ids are looked for at once, which costs a tenth of one after another.
        self.known = seen.known(receipts)
        self.claimed = RowTable(receipts, seen.window_ms)

    def claim(self, row: int) -> bool:
        """Claim the id of an event; False where it is a duplicate."""
        return not self.known[row] and self.claimed.claim(row)
