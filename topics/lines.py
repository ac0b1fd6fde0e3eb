"""Records to publish that are kept as the lines of one text."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from topics.records import Record


class Lines(Sequence[Record]):
    """Records without headers, whose values are JSON without line breaks. Kept together in one piece of memory, so that
    hundreds of them are no objects that are made, looked for and freed one by one. Each is made when it is asked for.
    """

    __slots__ = ("_pieces", "keys", "timestamps_ms")

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []
        self.timestamps_ms: list[int] = []
        self._pieces: list[bytes] = []

    @property
    def text(self) -> bytes:
        """The values in order, a line break behind each."""
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def append(self, key: bytes | None, value: bytes, timestamp_ms: int) -> None:
        self.extend(value + b"\n", (key,), (timestamp_ms,))

    def extend(self, text: bytes, keys: Iterable[bytes | None], timestamps_ms: Iterable[int]) -> None:
        """`text` has as many lines as there are keys, a line break behind each."""
        self.keys.extend(keys)
        self.timestamps_ms.extend(timestamps_ms)
        self._pieces.append(text)

    def __iter__(self) -> Iterator[Record]:
        values = self.text.split(b"\n")[:-1]
        for key, value, timestamp_ms in zip(self.keys, values, self.timestamps_ms, strict=True):
            yield key, value, timestamp_ms, ()

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> list[Record]: ...
    def __getitem__(self, at: int | slice) -> Record | list[Record]:
        return [*self][at]

    def __eq__(self, other: object) -> bool:
        """Whether it has the same records as another sequence."""
        return isinstance(other, Sequence) and [*self] == [*other]
