"""Bytewax: its Kafka source, a step that dedupes by message, one that links by anonymous id, and a sink.

Recovery is on, which is what makes it at-least-once: at the end of an epoch, every ten seconds by default, the offsets
and the state that changed are written down together. Bytewax keeps offsets there and commits none to Kafka. The sink
inserts what it has gathered before its own part of an epoch is written.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from bench.load import PROJECT
from bench.sides import INSERT_ROWS, EventsTable, Side, say_begin, say_end, side_of_arguments
from bench.sides.same_logic import WINDOW_S, Arrived, attributed, learnt, repeats, rules_of
from pipeline.identity import NOBODY, Ownership
from pipeline.outcome import Rejected
from pipeline.rules import Rules
from pipeline.validate import validate
from topics import stitched
from topics.names import RAW
from topics.stitched import StitchedEvent

_BATCH_SIZE: Final = 2000
_EPOCH: Final = timedelta(seconds=10)
_WINDOW: Final = timedelta(seconds=WINDOW_S)


class _First(StatefulBatchLogic[StitchedEvent, StitchedEvent, float]):
    """One message: its first event passes. It goes when its window, counted from its arrival here, is over."""

    def __init__(self, received_at: float | None) -> None:
        self._received_at = received_at
        self._ends = datetime.now(UTC) + _WINDOW

    def on_batch(self, events: list[StitchedEvent]) -> tuple[list[StitchedEvent], bool]:
        passed = []
        for event in events:
            if not repeats(self._received_at, event.received_at):
                self._received_at = event.received_at
                passed.append(event)
        return passed, self.RETAIN

    def notify_at(self) -> datetime:
        return self._ends

    def on_notify(self) -> tuple[list[StitchedEvent], bool]:
        return [], self.DISCARD

    def snapshot(self) -> float:
        return self._received_at or 0.0


class _Owned(StatefulBatchLogic[StitchedEvent, bytes, Ownership]):
    """One anonymous id: its events become rows."""

    def __init__(self, ownership: Ownership, rules: Rules) -> None:
        self._ownership = ownership
        self._rules = rules

    def on_batch(self, events: list[StitchedEvent]) -> tuple[list[bytes], bool]:
        return [self._row(event) for event in events], self.RETAIN

    def snapshot(self) -> Ownership:
        return self._ownership

    def _row(self, event: StitchedEvent) -> bytes:
        project = self._rules.of(event.project_id)
        self._ownership = learnt(self._ownership, event, project)
        return stitched.encode(attributed(self._ownership, event, project))


class _Rows(StatefulSinkPartition[bytes, None]):
    """Gathers rows up to an insert's most, but not beyond the end of an epoch."""

    def __init__(self, table: EventsTable) -> None:
        self._table = table
        self._gathered: list[bytes] = []

    def write_batch(self, values: list[bytes]) -> None:
        self._gathered += values
        if len(self._gathered) >= INSERT_ROWS:
            self._insert()

    def snapshot(self) -> None:
        self._insert()

    def close(self) -> None:
        self._insert()

    def _insert(self) -> None:
        self._table.insert(self._gathered)
        self._gathered = []


class _Store(FixedPartitionedSink[bytes, None]):
    def __init__(self, table: EventsTable) -> None:
        self._table = table

    def list_parts(self) -> list[str]:
        return ["store"]

    def part_fn(self, item_key: str) -> int:
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Rows:
        return _Rows(self._table)


def main() -> None:
    side = side_of_arguments(__doc__)
    table, folder = EventsTable(side), side.new_folder()
    init_db_dir(folder, 1)
    flow, recovery = _flow(side, table), RecoveryConfig(str(folder))
    say_begin()
    cli_main(flow, epoch_interval=_EPOCH, recovery_config=recovery)
    say_end(table.rows())


def _flow(side: Side, table: EventsTable) -> Dataflow:
    rules = rules_of(PROJECT)
    flow = Dataflow("stitch")
    source = KafkaSource([side.kafka], [RAW], tail=False, batch_size=_BATCH_SIZE)
    arrived = op.input("raw", flow, source)
    events = op.flat_map_batch("validate", arrived, lambda batch: _by_message(batch, rules))
    first = op.stateful_batch("dedupe", events, _First)
    ids = op.flat_map_batch("by_anonymous_id", first, _by_anonymous_id)
    rows = op.stateful_batch("link", ids, lambda kept: _Owned(kept or NOBODY, rules))
    op.output("store", rows, _Store(table))
    return flow


def _by_message(batch: list[KafkaSourceMessage[bytes, bytes]], rules: Rules) -> list[tuple[str, StitchedEvent]]:
    outcomes = [validate(Arrived(each.key, each.value, tuple(each.headers)), rules) for each in batch]
    events = [outcome for outcome in outcomes if not isinstance(outcome, Rejected)]
    return [(f"{event.project_id}\0{event.message_id}", event) for event in events]


def _by_anonymous_id(batch: list[tuple[str, StitchedEvent]]) -> list[tuple[str, StitchedEvent]]:
    return [(f"{event.project_id}\0{event.anonymous_id or event.message_id}", event) for _, event in batch]


if __name__ == "__main__":
    main()
