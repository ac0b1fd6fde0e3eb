"""The audit's arithmetic: are the messages that were received the messages that the store has?

Two sets of messages are compared by slices of receipt time and project. A slice of either side comes to a count and
the sum of its messages' 128-bit hashes, which does not depend on order: where both agree so do the sets (they would
agree by chance once in 10³⁸ times). Only messages of slices that differ are compared one by one. No I/O, no clock.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol, assert_never

from topics.names import RAW

HOUR_MS: Final = 3_600_000
MINUTE_MS: Final = 60_000
MOST_SAMPLES: Final = 10

_LONGEST_BY_MINUTES_MS: Final = 48 * HOUR_MS
_MOST_RANGES: Final = 100


class Slice(NamedTuple):
    """`start_ms` is a multiple of the window's `slice_ms`."""

    project_id: str
    start_ms: int


class _Received(Protocol):
    """Anything of a project that was received at an instant."""

    @property
    def project_id(self) -> str: ...
    @property
    def at_ms(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Window:
    """Messages received from `from_ms` on and before `to_ms`, of one project or of all."""

    from_ms: int
    to_ms: int
    project_id: str | None = None

    @property
    def slice_ms(self) -> int:
        """A minute, so that little has to be looked into where something differs; an hour in a long window."""
        return MINUTE_MS if self.to_ms - self.from_ms <= _LONGEST_BY_MINUTES_MS else HOUR_MS

    def slice_of(self, message: _Received) -> Slice:
        return Slice(message.project_id, message.at_ms - message.at_ms % self.slice_ms)

    def has(self, project_id: str, at_ms: int) -> bool:
        return self.from_ms <= at_ms < self.to_ms and self.project_id in {None, project_id}


Standing = Literal["stored", "rejected", "dropped"]
"""How the store has a message. Of several the last in the alphabet counts."""


@dataclass(slots=True)
class Tally:
    """One side of a slice. Of `messages` some are `rejected` or `dropped` (told by the store alone); those `under_way`
    (told by Kafka alone) are beside `messages` and not in the sum."""

    messages: int = 0
    hash_sum: int = 0
    rejected: int = 0
    dropped: int = 0
    under_way: int = 0


class Message(NamedTuple):
    """A message to look into. `at_ms` is its receipt as the side says that has it, `id` is "" where only the hash is
    known."""

    project_id: str
    id: str
    at_ms: int


@dataclass(slots=True)
class Count:
    """One hour of one project. Without faults, received = stored + rejected + dropped + forgotten + under way."""

    received: int = 0
    stored: int = 0
    rejected: int = 0
    dropped: int = 0
    forgotten: int = 0
    under_way: int = 0
    missing: int = 0
    unexpected: int = 0
    doubled: int = 0
    missing_ids: list[str] = field(default_factory=list)
    unexpected_ids: list[str] = field(default_factory=list)
    doubled_ids: list[str] = field(default_factory=list)

    def add(self, standing: Standing) -> None:
        match standing:
            case "stored":
                self.stored += 1
            case "rejected":
                self.rejected += 1
            case "dropped":
                self.dropped += 1
            case _:
                assert_never(standing)

    @property
    def is_equal(self) -> bool:
        return not (self.missing or self.unexpected or self.doubled)


class Report:
    """Counts by project and hour, filled step by step."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, int], Count] = defaultdict(Count)

    def at(self, project_id: str, at_ms: int) -> Count:
        return self._counts[project_id, at_ms - at_ms % HOUR_MS]

    def rows(self) -> Iterator[tuple[str, int, Count]]:
        """Project, hour in Unix milliseconds, count; in this order, and only where there is anything to tell."""
        for (project_id, hour_ms), count in sorted(self._counts.items(), key=lambda item: item[0]):
            if count != Count():
                yield project_id, hour_ms, count

    @property
    def is_equal(self) -> bool:
        return all(count.is_equal for count in self._counts.values())

    def add_equal(self, of: Slice, kafka: Tally, store: Tally) -> None:
        """A slice in which both sides have the same messages."""
        count = self.at(*of)
        count.received += kafka.messages + kafka.under_way
        count.stored += store.messages - store.rejected - store.dropped
        count.rejected += store.rejected
        count.dropped += store.dropped
        count.under_way += kafka.under_way


@dataclass(frozen=True, slots=True)
class Found:
    """All that is known of a message that stands on one side of its slice alone. `rows` are those that the view
    `events` shows; `first_at_ms` is the first receipt that anything in the store has of it. `is_late`: its records lie
    behind what was read at first, so that it is not counted yet."""

    standing: Standing | None = None
    rows: int = 0
    first_at_ms: int | None = None
    is_in_kafka: bool = False
    is_late: bool = False
    is_under_way: bool = False
    is_forgotten: bool = False


def message_hash(project_id: str, message_id: str) -> bytes:
    """128 bits of SHA-256, as the store computes them too (store/audit.py)."""
    text = f"{project_id}\0{message_id}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).digest()[:16]


def place_id(partition: int, offset: int) -> str:
    """What stands for the message id of a record that has none; no message id begins like this."""
    return f"\0{partition}:{offset}"


def differing(kafka: Mapping[Slice, Tally], store: Mapping[Slice, Tally]) -> set[Slice]:
    """The slices whose messages are not the same on both sides."""
    nothing = Tally()
    return {
        each
        for each in kafka.keys() | store.keys()
        if _sums(kafka.get(each, nothing)) != _sums(store.get(each, nothing))
    }


def ranges(slices: Iterable[Slice], slice_ms: int) -> list[tuple[int, int]]:
    """Stretches of time (from, before) that cover the slices; few, so that some may hold a little more."""
    starts = sorted({each.start_ms for each in slices})
    stretches: list[tuple[int, int]] = []
    for start_ms in starts:
        if stretches and stretches[-1][1] == start_ms:
            stretches[-1] = (stretches[-1][0], start_ms + slice_ms)
        else:
            stretches.append((start_ms, start_ms + slice_ms))
    while len(stretches) > _MOST_RANGES:
        stretches = [(pair[0][0], pair[-1][1]) for n in range(0, len(stretches), 2) if (pair := stretches[n : n + 2])]
    return stretches


def settle_missing(report: Report, message: Message, found: Found, window: Window) -> None:
    """Count a message that Kafka has and its slice of the store has not. It is counted as received already."""
    count = report.at(message.project_id, message.at_ms)
    if found.first_at_ms is not None and found.first_at_ms < window.from_ms:
        count.received -= 1  # a repeat of what came before the window
    elif found.standing is not None:
        count.add(found.standing)
    elif found.is_under_way:
        count.under_way += 1
    elif found.is_forgotten:
        count.forgotten += 1
    else:
        count.missing += 1
        _sample(count.missing_ids, message.id)


def settle_unexpected(report: Report, message: Message, found: Found) -> None:
    """Count a message that the store has and its slice of Kafka has not."""
    count = report.at(message.project_id, message.at_ms)
    if found.rows > 1:
        count.doubled += found.rows - 1
        _sample(count.doubled_ids, message.id)
    if found.is_late and found.standing is not None:
        count.received += 1
        count.add(found.standing)
    if not found.is_in_kafka:
        count.unexpected += 1
        _sample(count.unexpected_ids, message.id)


def _sample(samples: list[str], message_id: str) -> None:
    if len(samples) < MOST_SAMPLES and message_id:
        samples.append(f"{RAW}:{message_id[1:]}" if message_id.startswith("\0") else message_id)


def _sums(tally: Tally) -> tuple[int, int]:
    return tally.messages, tally.hash_sum % 2**128
