"""Messages as Kafka has them, each counted once however often it came, in bounded memory.

They go to files by the first byte of their hash, 29 bytes each; a message's repeats meet in one file, and one file at
a time is taken into memory. So a window of any length needs the memory of a 256th of its messages.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from pipeline.audit import Slice, Tally, Window, message_hash

FILES: Final = 256

_ENTRY: Final = Struct("<16sIq?")
_BUFFER_BYTES: Final = 1 << 16


class Entry(NamedTuple):
    """A message of the window: its first receipt, and whether something of it is still under way."""

    project_id: str
    at_ms: int
    is_under_way: bool


class Received:
    """`folder` is empty and its own. Add everything first, then read."""

    def __init__(self, folder: Path, window: Window) -> None:
        self._window = window
        self._paths = [folder / f"{first:02x}" for first in range(FILES)]
        self._files = [path.open("wb", _BUFFER_BYTES) for path in self._paths]
        self._projects: dict[str, int] = {}

    def add(self, project_id: str, message_id: str, at_ms: int, *, is_under_way: bool) -> None:
        """Take in a record's message, where it is of the window."""
        if not self._window.has(project_id, at_ms):
            return
        digest = message_hash(project_id, message_id)
        project = self._projects.setdefault(project_id, len(self._projects))
        self._files[digest[0]].write(_ENTRY.pack(digest, project, at_ms, is_under_way))

    def close(self) -> None:
        """Nothing more is added."""
        for file in self._files:
            file.close()

    def tallies(self) -> dict[Slice, Tally]:
        """By slice of each message's first receipt."""
        tallies: defaultdict[Slice, Tally] = defaultdict(Tally)
        for first in range(FILES):
            for digest, entry in self.entries(first).items():
                tally = tallies[self._window.slice_of(entry)]
                if entry.is_under_way:
                    tally.under_way += 1
                else:
                    tally.messages += 1
                    tally.hash_sum += int.from_bytes(digest, "little")
        return tallies

    def entries(self, first: int) -> dict[bytes, Entry]:
        """The messages whose hashes begin with this byte."""
        projects = list(self._projects)
        merged: dict[bytes, Entry] = {}
        for digest, project, at_ms, is_under_way in self._read(first):
            known = merged.get(digest)
            if known is not None:
                at_ms, is_under_way = min(at_ms, known.at_ms), is_under_way or known.is_under_way
            merged[digest] = Entry(projects[project], at_ms, is_under_way)
        return merged

    def _read(self, first: int) -> Iterator[tuple[bytes, int, int, bool]]:
        return _ENTRY.iter_unpack(self._paths[first].read_bytes())
