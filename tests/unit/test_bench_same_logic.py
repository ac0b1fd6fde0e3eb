"""The sides that the worker is measured against decide as it does."""

from bench import load
from bench.sides.same_logic import Arrived, rules_of, stitched_row
from pipeline.dedupe import SeenIds
from pipeline.identity import NOBODY, Ownership
from pipeline.stitch import decide

EVENTS = 600


class _Memory:
    def __init__(self) -> None:
        self._received_at: dict[bytes, float] = {}
        self._ownerships: dict[bytes, Ownership] = {}

    def first_received_at(self, message: bytes) -> float | None:
        return self._received_at.get(message)

    def note(self, message: bytes, received_at: float) -> None:
        self._received_at[message] = received_at

    def ownership(self, anonymous: bytes) -> Ownership:
        return self._ownerships.get(anonymous, NOBODY)

    def own(self, anonymous: bytes, ownership: Ownership) -> None:
        self._ownerships[anonymous] = ownership


def _arrived() -> list[Arrived]:
    records = [record for _, record in load.records(EVENTS, 1)]
    return [Arrived(key, value, headers, timestamp=at_ms) for key, value, at_ms, headers in records]


def test_one_event_at_a_time_gives_the_rows_that_a_batch_gives() -> None:
    records, state, rules = _arrived(), _Memory(), rules_of(load.PROJECT)
    rows = [row for record in records if (row := stitched_row(record, state, rules)) is not None]
    decision = decide(records, SeenIds(86_400), {}, rules)
    assert rows == [value for _, value, _, _ in decision.stitched]
    assert len(rows) == EVENTS - decision.duplicates < EVENTS
    assert any(b'"user_id":null,"stitched_user_id":"user-' in row for row in rows)
