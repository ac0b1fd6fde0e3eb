"""Which messages were stored already: (project, messageId), exact, within a window of received time.

One `SeenIds` holds one partition. Nothing is remembered by asking: an id is noted once its event's output is
durable. `position` says up to where `events.stitched` has been taken in, so that a partition that comes back is brought
up to the log before it decides anything.

The newest ids are in a table (`pipeline/id_table.pyx`), which takes them in one by one. When it has 61,440 of them it
becomes a sorted slice, at 27 bytes an id, of which 24 may lie on disk; slices are joined as they grow in number, and go
as a whole once all of their ids are past the window.

With a folder, each new slice is also a checkpoint. A new `SeenIds` begins with what was saved there, at its `position`,
and lacks at most what the table held. State that is damaged is told in the log and left aside: then `position` is None
and everything is to be read back from `events.stitched`, as without a folder.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.dedupe_folder import DamagedState, IdFolder
from pipeline.dedupe_slice import IdSlice
from pipeline.receipts import Receipts

try:
    from pipeline.id_table import IdTable as IdTable
except ImportError:  # whipstitch was installed where there is no C compiler
    from pipeline.id_dict import IdTable as IdTable

logger = logging.getLogger(__name__)

# Ids are kept for this much longer than the window: receipts are of several clocks, and after a crash the events of the
# last batches are decided again.
SLACK_S = 3600

_SEAL_AT = 61_440  # with a batch more they fill the table of 131,072 places to a half, and it need not grow
_JOIN_AT_ONCE = 8
_LARGEST_SLICE = 1 << 20  # to join one takes about 0.1 s
_LARGEST_SHARE = 8  # as a slice goes whole, ids stay up to this part of a window longer than they must
_NOTHING_HASHED: Final = hashlib.blake2b(digest_size=16)  # a copy of it costs less than a new one


class SeenIds:
    """The remembered ids of one partition, at 27 bytes an id but for the newest 61,440."""

    __slots__ = ("_folder", "_recent", "_seal_at", "_slices", "position", "window_ms", "window_s")

    def __init__(self, window_s: float, folder: Path | None = None, *, seal_at: int = _SEAL_AT) -> None:
        self.window_s = window_s
        self.window_ms = round(window_s * 1000)
        self.position: int | None = None
        self._seal_at = seal_at
        self._recent = IdTable()
        self._slices: list[IdSlice] = []
        self._folder = IdFolder(folder, self.window_ms) if folder else None
        self._load()

    def __len__(self) -> int:
        return len(self._recent) + sum(map(len, self._slices))

    def known(self, receipts: Receipts) -> npt.NDArray[np.uint8]:
        """Of each row 1 where its id was received less than a window before, or later; else 0."""
        known = np.zeros(len(receipts), np.uint8)
        self._recent.mark(receipts, self.window_ms, known)
        for piece in self._slices:
            piece.mark(receipts, self.window_ms, known)
        return known

    def has(self, seen_id: bytes, received_at: float) -> bool:
        """The same of one id, and Unix seconds. A batch costs little more."""
        return bool(self.known(Receipts.of([seen_id], [received_at]))[0])

    def remember_all(self, receipts: Receipts) -> None:
        """Note events of the log, in its order. To note one again changes nothing."""
        new = IdTable()
        new.claim_all(receipts.where(self.known(receipts) == 0), self.window_ms)
        self.remember_new(new.receipts())

    def remember_new(self, claimed: Receipts) -> None:
        """Note events whose output is durable, and of which `known`, asked since the last were noted, said: new."""
        self._recent.claim_all(claimed, self.window_ms)
        if len(self._recent) >= self._seal_at:
            self.checkpoint()

    def remember(self, seen_id: bytes, received_at: float) -> None:
        """Note one event. A batch costs little more."""
        self.remember_all(Receipts.of([seen_id], [received_at]))

    def checkpoint(self) -> None:
        """Save everything, where there is a folder. A disk that fails is told in the log, and memory serves on."""
        if len(self._recent):
            self._seal()
        if self._folder is None or self.position is None:
            return
        try:
            self._slices = self._folder.save(self._slices, self.position)
        except OSError as error:
            logger.warning(
                "dedupe state in %s: not saved, a restart reads more of the log: %s", self._folder.path, error
            )

    def forget(self) -> None:
        """Begin with nothing, as this is not the state of the log at hand. The next checkpoint replaces the folder."""
        self.position = None
        self._recent = IdTable()
        self._slices = []

    def _load(self) -> None:
        if self._folder is None:
            return
        try:
            saved = self._folder.load()
        except DamagedState as problem:
            logger.warning("dedupe state in %s: %s; it is read back from the log", self._folder.path, problem)
        else:
            if saved is not None:
                self._slices, self.position = saved.slices, saved.position

    def _seal(self) -> None:
        sealed = IdSlice.of(self._recent.receipts())
        # By the median, so that a few receipts from a clock that is wrong cannot end the others' window.
        ended_ms = int(np.median(sealed.receipts.received_at_ms)) - self.window_ms - SLACK_S * 1000
        self._slices = [piece for piece in self._slices if piece.newest_ms > ended_ms]
        self._slices.append(sealed)
        self._recent = IdTable(len(sealed))  # as many are to be expected again
        self._join()

    def _join(self) -> None:
        """Make one slice of neighbours, as often as there are some to join, the newest first."""
        at = len(self._slices) - 1
        while at >= 0:
            joined = self._slices[at : at + self._joinable(at)]
            if joined:
                self._slices[at : at + len(joined)] = [IdSlice.of(*(piece.receipts for piece in joined))]
                at = len(self._slices) - 1
            else:
                at -= 1

    def _joinable(self, at: int) -> int:
        """How many slices from `at` on are to become one: eight, or where that would be too large, as many as are not.

        None where one of them is most of it: an id is moved only into something half as large again at least.
        """
        sizes = [len(piece) for piece in self._slices[at : at + _JOIN_AT_ONCE]]
        largest = min(_LARGEST_SLICE, max(_JOIN_AT_ONCE * self._seal_at, len(self) // _LARGEST_SHARE))
        count = len(sizes)
        while sum(sizes[:count]) > largest:
            count -= 1
        if count != _JOIN_AT_ONCE and not 2 <= count < len(sizes):
            return 0
        return count if 3 * max(sizes[:count]) <= 2 * sum(sizes[:count]) else 0


def seen_id(project_id: str, message_id: str) -> bytes:
    """128 bits that stand for (project, messageId): two of 10¹² ids collide with probability 10⁻¹⁵."""
    return seen_ids([id_text(project_id, message_id)])[0]


def id_text(project_id: str, message_id: str) -> bytes:
    """What is hashed to be such an id."""
    return f"{project_id}\0{message_id}".encode("utf-8", "surrogatepass")


def seen_ids(texts: Sequence[bytes]) -> list[bytes]:
    """The ids of many."""
    ids = []
    for text in texts:
        hashed = _NOTHING_HASHED.copy()
        hashed.update(text)
        ids.append(hashed.digest())
    return ids
