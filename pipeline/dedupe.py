"""Which messages were stored already: (project, messageId), exact, within a window of received time.

One `SeenIds` holds one partition. Nothing is remembered by asking: `remember` is called once an event's output is
durable. `position` says up to where `events.stitched` has been taken in, so that a partition that comes back is brought
up to the log before it decides anything.
"""

import hashlib

_EVICT_AT_MOST = 4


class SeenIds:
    """The remembered ids of one partition, oldest first, as 128-bit hashes (about 190 bytes each in memory)."""

    __slots__ = ("_received_at", "position", "window_s")

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self.position: int | None = None
        self._received_at: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._received_at)

    def has(self, seen_id: bytes, received_at: float) -> bool:
        """Whether it was received less than a window before `received_at`, or after it."""
        return self.repeats(self._received_at.get(seen_id), received_at)

    def repeats(self, first_received_at: float | None, received_at: float) -> bool:
        return first_received_at is not None and received_at - first_received_at < self.window_s

    def remember(self, seen_id: bytes, received_at: float) -> None:
        """Note an event whose output is durable, and forget a few whose window ended before `received_at`."""
        if not self.has(seen_id, received_at):
            self._received_at.pop(seen_id, None)
            self._received_at[seen_id] = received_at
        self._evict(received_at - self.window_s)

    def _evict(self, ended: float) -> None:
        expired: list[bytes] = []
        for seen_id, received_at in self._received_at.items():
            if received_at > ended or len(expired) == _EVICT_AT_MOST:
                break
            expired.append(seen_id)
        for seen_id in expired:
            del self._received_at[seen_id]


def seen_id(project_id: str, message_id: str) -> bytes:
    """128 bits that stand for (project, messageId): two of 10¹² ids collide with probability 10⁻¹⁵."""
    text = f"{project_id}\0{message_id}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()
