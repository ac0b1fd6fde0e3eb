"""Bytewax: its Kafka source, one stateful step by anonymous id that dedupes and links, and a sink.

One step for both, because each costs an exchange and a call for each key and batch: a step of its own by message, with
a time to go, was a third dearer. So a repeat is found where it comes under the same id, as a client's retry does.

Recovery is on, which is what makes it at-least-once: at the end of an epoch, every ten seconds by default, the offsets
and the state that changed are written down together. Bytewax keeps offsets there and commits none to Kafka. The sink
inserts what it has gathered before its own part of an epoch is written.
"""

from datetime import timedelta
from typing import Final, NamedTuple

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

_BATCH_SIZE: Final = 10_000
_EPOCH: Final = timedelta(seconds=10)
_KEPT_S: Final = WINDOW_S + 3600  # receipts are of several clocks


class _Known(NamedTuple):
    """What is kept of one anonymous id. `received_at` is by message, the first taken first."""

    received_at: dict[str, float]
    ownership: Ownership


class _AnonymousId(StatefulBatchLogic[StitchedEvent, bytes, _Known]):
    """The events of one anonymous id become rows."""

    def __init__(self, known: _Known | None, rules: Rules) -> None:
        self._received_at, self._ownership = known or _Known({}, NOBODY)
        self._rules = rules

    def on_batch(self, events: list[StitchedEvent]) -> tuple[list[bytes], bool]:
        return [self._row(event) for event in events if self._is_new(event)], self.RETAIN

    def snapshot(self) -> _Known:
        return _Known(self._received_at.copy(), self._ownership)

    def _is_new(self, event: StitchedEvent) -> bool:
        if repeats(self._received_at.get(event.message_id), event.received_at):
            return False
        self._received_at[event.message_id] = event.received_at
        while event.received_at - self._received_at[oldest := next(iter(self._received_at))] > _KEPT_S:
            del self._received_at[oldest]
        return True

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
    events = op.flat_map_batch("validate", arrived, lambda batch: _by_key(batch, rules))
    rows = op.stateful_batch("stitch", events, lambda known: _AnonymousId(known, rules))
    op.output("store", rows, _Store(table))
    return flow


def _by_key(batch: list[KafkaSourceMessage[bytes, bytes]], rules: Rules) -> list[tuple[str, StitchedEvent]]:
    """By the records' own keys, which are by anonymous id where there is one."""
    outcomes = [
        (each.key.decode(), validate(Arrived(each.key, each.value, tuple(each.headers)), rules)) for each in batch
    ]
    return [(key, outcome) for key, outcome in outcomes if not isinstance(outcome, Rejected)]


if __name__ == "__main__":
    main()
