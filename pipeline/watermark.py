"""How far a partition is done: batches may finish in any order, an offset is committed only when all before it are."""

from collections import deque
from collections.abc import Iterable


class Watermark:
    """One partition's batches in the order in which they were delivered, each open until all its readers are done."""

    __slots__ = ("_committable", "_open", "_waiting", "next_offset")

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()
        self._open: dict[int, set[str]] = {}
        self._committable: int | None = None
        self.next_offset: int | None = None  # the offset after the last that was delivered

    def delivered(self, last_offset: int, readers: Iterable[str]) -> None:
        """A batch that ends with `last_offset` was handed to each of these readers, one at least."""
        self.next_offset = last_offset + 1
        self._waiting.append(last_offset)
        self._open[last_offset] = set(readers)

    def done(self, last_offset: int, reader: str) -> None:
        """A reader has finished that batch: its outputs are durable. Saying it again changes nothing."""
        waiting_for = self._open.get(last_offset, set())
        waiting_for.discard(reader)
        if not waiting_for:
            self._open.pop(last_offset, None)
        while self._waiting and self._waiting[0] not in self._open:
            self._committable = self._waiting.popleft() + 1

    @property
    def committable(self) -> int | None:
        """The offset to commit: the one after the last batch before which nothing is open. None: nothing is done."""
        return self._committable
