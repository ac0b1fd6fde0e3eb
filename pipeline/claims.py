"""Which records of a batch are the first of their ids: new to what was seen before, and to the batch itself."""

from pipeline.dedupe import SeenIds


class Claims:
    """Of each row its id, when that was received (Unix seconds), and whether it was known before the batch. `claimed`
    are the ids that the batch brings, each with its receipt. Nothing that is passed in is changed."""

    __slots__ = ("_seen", "claimed", "ids", "known", "received_at")

    def __init__(self, seen: SeenIds, ids: list[bytes], received_at: list[float]) -> None:
        self._seen = seen
        self.ids = ids
        self.received_at = received_at
        # All ids are looked for at once, which costs a tenth of one after another.
        self.known = seen.known(ids, received_at)
        self.claimed: dict[bytes, float] = {}

    def claim(self, row: int) -> bool:
        """Claim the id of an event; False where it is a duplicate."""
        this_id, at = self.ids[row], self.received_at[row]
        if self.known[row] or (this_id in self.claimed and self._seen.is_claimed(this_id, at, self.claimed)):
            return False
        self.claimed[this_id] = at
        return True
