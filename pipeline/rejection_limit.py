"""When so many events are refused that something of ours must be wrong, and the worker should stop.

Arrives: how many events each batch accepted, and how many it refused, by who sent them. Leaves: nothing, or why to
stop. A duplicate is accepted: where a worker reads everything once more, what it refused before would else be all that
counts. What was refused of an event that is kept (step `link`) does not count. It reads no clock and does no I/O.

Two rules, because a bad deploy refuses what everybody sends, and a bad client what it sends itself:

1. Of the last `events` events, leave out what the *worst* sender had refused. Of the rest, which must be at least a
   tenth of them, more than `share` were refused. One bad client, however loud, stops nothing.
2. Nothing at all was accepted for `alone_s` seconds of the worker's own running time, while at least `events` events
   were refused. This is for the service that has one sender only: then stopping keeps nobody's good events waiting.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from topics.raw import read_stamp
from topics.records import UNREADABLE, Record
from topics.rejected import read_rejection


class Sender(NamedTuple):
    """Who sent an event, as far as it tells; both None where it came past the ingress."""

    project_id: str | None
    ip: str | None


@dataclass(frozen=True, slots=True)
class RejectionRule:
    events: int = 10_000
    share: float = 0.5
    alone_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Exceeded:
    """Why to stop: `refused` of `events` events."""

    refused: int
    events: int
    senders: int

    def __str__(self) -> str:
        return (
            f"{self.refused:,} of the last {self.events:,} events were refused, of {self.senders} senders; "
            "look at `whipstitch dead-letters list`, mend what refuses them, start the worker again, "
            "and try them again with `whipstitch dead-letters retry`"
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    accepted: int
    refused: Mapping[Sender, int]

    @property
    def events(self) -> int:
        return self.accepted + sum(self.refused.values())


class RejectionLimit:
    """What one worker has accepted and refused of late, over all its partitions."""

    def __init__(self, rule: RejectionRule, now_s: float) -> None:
        self._rule = rule
        self._batches: deque[_Batch] = deque()
        self._events = 0
        self._accepted = 0
        self._refused: Counter[Sender] = Counter()
        self._last_accepted_s = now_s
        self._refused_since = 0

    def add(self, accepted: int, refused: Mapping[Sender, int], now_s: float) -> Exceeded | None:
        """Count a batch once its outputs are durable; `now_s` is monotonic time."""
        batch = _Batch(accepted, refused)
        if batch.events:
            self._append(batch)
        if accepted:
            self._last_accepted_s, self._refused_since = now_s, 0
        else:
            self._refused_since += batch.events
        return self._without_the_worst() or self._nothing_accepted(now_s)

    def _append(self, batch: _Batch) -> None:
        self._batches.append(batch)
        self._events += batch.events
        self._accepted += batch.accepted
        self._refused.update(batch.refused)
        while self._events - self._batches[0].events >= self._rule.events:
            oldest = self._batches.popleft()
            self._events -= oldest.events
            self._accepted -= oldest.accepted
            self._refused.subtract(oldest.refused)
            for sender in oldest.refused:
                if not self._refused[sender]:
                    del self._refused[sender]

    def _without_the_worst(self) -> Exceeded | None:
        if self._events < self._rule.events:
            return None
        refused = self._refused.total() - max(self._refused.values(), default=0)
        rest = self._accepted + refused
        if rest < self._rule.events / 10 or refused <= self._rule.share * rest:
            return None
        return Exceeded(self._refused.total(), self._events, len(self._refused))

    def _nothing_accepted(self, now_s: float) -> Exceeded | None:
        refused = self._refused_since
        if refused < self._rule.events or now_s - self._last_accepted_s < self._rule.alone_s:
            return None
        return Exceeded(refused, refused, len(self._refused))


def refused_by_sender(letters: Iterable[Record]) -> Counter[Sender]:
    """How many events a batch refused, from its dead letters. Reads each, so it costs about 3 µs a letter."""
    return Counter(_sender(headers) for _, _, _, headers in letters if read_rejection(headers).step != "link")


def _sender(headers: tuple[tuple[str, bytes], ...]) -> Sender:
    try:
        stamp = read_stamp(headers)
    except UNREADABLE:
        return Sender(None, None)
    return Sender(stamp.project_id, stamp.ip)
