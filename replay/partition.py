"""One partition of a replay: batches of records in, what they come to out, decided by the very step that live has.

It guarantees that the same records after the same state come to the same, whatever the batches, also where the state
was read back from a journal.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from pipeline.decision import Decision
from pipeline.dedupe import SeenIds
from pipeline.receipts import Receipts
from pipeline.rules import Rules
from pipeline.stitch import decide
from replay.journal import Frame
from replay.scope import Scope, Where
from replay.source import Batch
from replay.state import Progress
from topics.records import RawRecord


@dataclass(frozen=True, slots=True)
class Decided:
    """What a batch came to. `records` are those within the scope, and `decisions` theirs; `frame` is to be written once
    all of it is stored."""

    partition: int
    records: Sequence[RawRecord]
    decisions: Sequence[Decision]
    frame: Frame


class Partition:
    """Its state as of `position`, the offset that is next."""

    def __init__(
        self, progress: Progress, scope: Scope, rules: Rules, seen: SeenIds, owners: dict[bytes, bytes]
    ) -> None:
        self.position = progress.position
        self._start, self._end = progress.start, progress.end
        self._number = progress.partition
        self._scope = scope
        self._rules = rules
        self._seen = seen
        self._owners = owners
        self._counts: Counter[str] = Counter()

    def resume(self, frame: Frame) -> None:
        """Take in what a batch came to before."""
        self._seen.remember_all(frame.claimed())
        for key, value in frame.owners.items():
            self._learn(key, value)
        self._counts = Counter(frame.counts)
        self.position = frame.position

    def decide(self, batch: Batch) -> Decided:
        """Take a batch through, and remember what it came to."""
        claimed = [Receipts.blank(0)]
        owners: dict[bytes, bytes | None] = {}
        records: list[RawRecord] = []
        decisions: list[Decision] = []
        for where, stretch in _stretches(batch, self._scope):
            decision = decide(stretch, self._seen, self._owners, self._rules)
            self._remember(decision)
            claimed.append(decision.claimed)
            owners |= decision.owners
            if where is Where.WITHIN:
                records += stretch
                decisions.append(decision)
        self._counts.update(_counted(decisions), outside=len(batch.records) - len(records))
        self.position = batch.next
        frame = Frame.of(batch.next, Receipts.joined(claimed), owners, self._counts)
        return Decided(self._number, records, decisions, frame)

    def progress(self, frame: Frame | None, per_s: float, now_ms: int) -> Progress:
        """As of a frame; None is the beginning."""
        position, counts = (frame.position, frame.counts) if frame else (self._start, {})
        return Progress(self._number, self._start, position, self._end, per_s=per_s, updated_at_ms=now_ms, **counts)

    def _remember(self, decision: Decision) -> None:
        self._seen.remember_new(decision.claimed)
        for key, value in decision.owners.items():
            self._learn(key, value)

    def _learn(self, key: bytes, owner: bytes | None) -> None:
        if owner is None:
            self._owners.pop(key, None)
        else:
            self._owners[key] = owner


def _stretches(batch: Batch, scope: Scope) -> Iterator[tuple[Where, list[RawRecord]]]:
    """The batch cut where records within the scope and beyond it meet. Their decisions rest on one another."""
    placed = ((scope.where(record), record) for record in batch.records)
    ours = (each for each in placed if each[0] is not Where.ELSEWHERE)
    for where, stretch in groupby(ours, key=itemgetter(0)):
        yield where, [record for _, record in stretch]


def _counted(decisions: Iterable[Decision]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for decision in decisions:
        counts.update(
            events=len(decision.stitched),
            links=len(decision.links),
            edges=sum(map(len, decision.edges.values())),
            rejected=len(decision.rejected),
            duplicates=decision.duplicates,
        )
    return counts
