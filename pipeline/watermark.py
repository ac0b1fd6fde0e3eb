"""How far a partition is done: batches may finish in any order, an offset is committed only when all before it are."""

from collections import deque


class Watermark:
    """One partition's batches in the order in which they were delivered, each open or done."""

    __slots__ = ("_committable", "_open", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()
        self._open: set[int] = set()
        self._committable: int | None = None

    def delivered(self, last_offset: int) -> None:
        """A batch that ends with `last_offset` was handed out."""
        self._waiting.append(last_offset)
        self._open.add(last_offset)

    def done(self, last_offset: int) -> None:
        """That batch is finished: its outputs are durable. Saying it again changes nothing."""
        self._open.discard(last_offset)
        while self._waiting and self._waiting[0] not in self._open:
            self._committable = self._waiting.popleft() + 1

    @property
    def committable(self) -> int | None:
        """The offset to commit: the one after the last batch before which nothing is open. None: nothing is done."""
        return self._committable
