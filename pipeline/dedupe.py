"""Which messages were stored already: (project, messageId), exact, within a window of received time.

One `SeenIds` holds one partition. Nothing is remembered by asking: an id is noted once its event's output is
durable. `position` says up to where `events.stitched` has been taken in, so that a partition that comes back is brought
up to the log before it decides anything.

The newest ids are in a dict, which takes an id in or finds it in 0.1 µs but costs 190 bytes an id. When it has 16,384
of them it becomes a sorted slice, at 27 bytes an id, of which 24 may lie on disk; slices are joined as they grow in
number, and go as a whole once all of their ids are past the window.

With a folder, each new slice is also a checkpoint. A new `SeenIds` begins with what was saved there, at its `position`,
and lacks at most what the dict held. State that is damaged is told in the log and left aside: then `position` is None
and everything is to be read back from `events.stitched`, as without a folder.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Final

import numpy as np

from pipeline.dedupe_folder import DamagedState, IdFolder
from pipeline.dedupe_slice import I64, Batch, IdSlice, Receipts

logger = logging.getLogger(__name__)

# Ids are kept for this much longer than the window: receipts are of several clocks, and after a crash the events of the
# last batches are decided again.
SLACK_S = 3600

_SEAL_AT = 16_384
_JOIN_AT_ONCE = 8
_LARGEST_SLICE = 1 << 20  # to join one takes about 0.1 s
_LARGEST_SHARE = 8  # as a slice goes whole, ids stay up to this part of a window longer than they must
NOTHING_HASHED: Final = hashlib.blake2b(digest_size=16)  # a copy of it costs less than a new one
_FARTHEST_S = 1 << 43  # what lies beyond is no instant, and in milliseconds could not be subtracted in 64 bits


class SeenIds:
    """The remembered ids of one partition: at most 16,384 at 190 bytes, all others at 27."""

    __slots__ = ("_folder", "_recent", "_seal_at", "_slices", "_window_ms", "position", "window_s")

    def __init__(self, window_s: float, folder: Path | None = None, *, seal_at: int = _SEAL_AT) -> None:
        self.window_s = window_s
        self.position: int | None = None
        self._window_ms = round(window_s * 1000)
        self._seal_at = seal_at
        self._recent: dict[bytes, float] = {}
        self._slices: list[IdSlice] = []
        self._folder = IdFolder(folder, self._window_ms) if folder else None
        self._load()

    def __len__(self) -> int:
        return len(self._recent) + sum(map(len, self._slices))

    def known(self, ids: Sequence[bytes], received_at: Sequence[float]) -> list[bool]:
        """Of each id, whether it was received less than a window before its `received_at` (Unix seconds), or after."""
        known = [False] * len(ids)
        for row in self._known_of_late(ids, received_at):
            known[row] = True
        if not ids or not self._slices:
            return known
        batch = Batch.of(Receipts.of(ids, _milliseconds(received_at)), self._window_ms)
        for piece in self._slices:
            for row in piece.repeated(batch):
                known[row] = True
        return known

    def has(self, seen_id: bytes, received_at: float) -> bool:
        """The same of one id. A batch costs little more."""
        return self.known([seen_id], [received_at])[0]

    def is_claimed(self, seen_id: bytes, received_at: float, claimed: Mapping[bytes, float]) -> bool:
        """The same of an id among those that the batch itself brought before it, each with its receipt."""
        first = claimed.get(seen_id)
        return first is not None and _ms(received_at) - _ms(first) < self._window_ms

    def remember_all(self, ids: Sequence[bytes], received_at: Sequence[float]) -> None:
        """Note events of the log, in its order. To note one again changes nothing."""
        new: dict[bytes, float] = {}
        for this_id, at, is_known in zip(ids, received_at, self.known(ids, received_at), strict=True):
            if not is_known and not self.is_claimed(this_id, at, new):
                new[this_id] = at
        self.remember_new(new)

    def remember_new(self, claimed: Mapping[bytes, float]) -> None:
        """Note events whose output is durable, each id with its receipt, and of which `known`, asked since the last
        were noted, said: new."""
        self._recent.update(claimed)
        if len(self._recent) >= self._seal_at:
            self.checkpoint()

    def remember(self, seen_id: bytes, received_at: float) -> None:
        """Note one event. A batch costs little more."""
        self.remember_all([seen_id], [received_at])

    def checkpoint(self) -> None:
        """Save everything, where there is a folder. A disk that fails is told in the log, and memory serves on."""
        if self._recent:
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
        self._recent = {}
        self._slices = []

    def _known_of_late(self, ids: Sequence[bytes], received_at: Sequence[float]) -> list[int]:
        """Rows. Instants become milliseconds many at once, and only where an id is there: most are new."""
        found = [(row, first) for row, first in enumerate(map(self._recent.get, ids)) if first is not None]
        if not found:
            return []
        rows, firsts = zip(*found, strict=True)
        ages_ms = _milliseconds([received_at[row] for row in rows]) - _milliseconds(firsts)
        return list(compress(rows, (ages_ms < self._window_ms).tolist()))

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
        received_at_ms = _milliseconds([*self._recent.values()])
        sealed = IdSlice.of(Receipts.of(list(self._recent), received_at_ms))
        # By the median, so that a few receipts from a clock that is wrong cannot end the others' window.
        ended_ms = int(np.median(received_at_ms)) - self._window_ms - SLACK_S * 1000
        self._slices = [piece for piece in self._slices if piece.newest_ms > ended_ms]
        self._slices.append(sealed)
        self._recent = {}
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
        largest = min(_LARGEST_SLICE, max(2 * _JOIN_AT_ONCE * self._seal_at, len(self) // _LARGEST_SHARE))
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
        hashed = NOTHING_HASHED.copy()
        hashed.update(text)
        ids.append(hashed.digest())
    return ids


def _ms(received_at: float) -> int:
    """As `_milliseconds`."""
    return round(max(-_FARTHEST_S, min(received_at, _FARTHEST_S)) * 1000)


def _milliseconds(received_at: Sequence[float]) -> I64:
    return np.rint(np.clip(np.array(received_at, np.float64), -_FARTHEST_S, _FARTHEST_S) * 1000).astype(np.int64)
