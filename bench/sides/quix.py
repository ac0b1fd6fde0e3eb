"""Quix Streams: a StreamingDataFrame with state in RocksDB, its changelogs in Kafka, and a batching sink to the store.

At least once, which is its default: a checkpoint flushes the sink, then the changelogs, then commits the offsets. The
key of a record is the prefix of its state, so an event finds what is known of its own anonymous id, and a repeat is
found where it comes under the same id, as a client's retry does. What was seen has a time to live, counted in the
records' own time: without it the state would grow for ever.
"""

from collections.abc import Sequence
from datetime import timedelta

from quixstreams import Application
from quixstreams.sinks.base import BatchingSink, SinkBatch
from quixstreams.state import State as QuixState

from bench.load import PROJECT
from bench.sides import EventsTable, Side, say_begin, say_end, side_of_arguments
from bench.sides.same_logic import WINDOW_S, Arrived, rules_of, stitched_row
from pipeline import owner_rows
from pipeline.identity import NOBODY, Ownership
from topics.names import RAW

# The default. At full speed a checkpoint, and with it an insert, is tens of thousands of events.
_COMMIT_INTERVAL_S = 5.0
_WINDOW = timedelta(seconds=WINDOW_S)
_OWNERSHIP_PREFIX = b"owner:"


class _State:
    """Quix's state of one key, as `same_logic.State`. Bytes, so that nothing is written as JSON inside of JSON."""

    __slots__ = ("_state",)

    def __init__(self, state: QuixState) -> None:
        self._state = state

    def first_received_at(self, message: bytes) -> float | None:
        stored = self._state.get_bytes(message)
        return None if stored is None else float(stored)

    def note(self, message: bytes, received_at: float) -> None:
        self._state.set_bytes(message, b"%.3f" % received_at, ttl=_WINDOW)

    def ownership(self, anonymous: bytes) -> Ownership:
        stored = self._state.get_bytes(_OWNERSHIP_PREFIX + anonymous)
        return NOBODY if stored is None else owner_rows.decode(stored)

    def own(self, anonymous: bytes, ownership: Ownership) -> None:
        self._state.set_bytes(_OWNERSHIP_PREFIX + anonymous, owner_rows.encode(ownership))


class _Sink(BatchingSink):
    def __init__(self, table: EventsTable) -> None:
        super().__init__()
        self._table = table

    def write(self, batch: SinkBatch) -> None:
        self._table.insert([item.value for item in batch])


class _Taken:
    """Stops the application once as many records were taken as there are; it commits before it ends."""

    def __init__(self, side: Side) -> None:
        self._left = side.events
        self.application: Application | None = None

    def __call__(self, topic: str, partition: int, offset: int) -> None:
        self._left -= 1
        if self._left == 0 and self.application is not None:
            self.application.stop()


def main() -> None:
    side = side_of_arguments(__doc__)
    table = EventsTable(side)
    application = _application(side, _Sink(table))
    say_begin()
    application.run()
    say_end(table.rows())


def _application(side: Side, sink: BatchingSink) -> Application:
    taken, rules = _Taken(side), rules_of(PROJECT)
    application = taken.application = Application(
        broker_address=side.kafka,
        consumer_group=side.group,
        auto_offset_reset="earliest",
        commit_interval=_COMMIT_INTERVAL_S,
        state_dir=side.new_folder(),
        on_message_processed=taken,
        loglevel="WARNING",
    )

    def stitch(
        value: bytes, key: bytes, timestamp: int, headers: Sequence[tuple[str, bytes]], state: QuixState
    ) -> list[bytes]:
        row = stitched_row(Arrived(key, value, tuple(headers)), _State(state), rules)
        return [] if row is None else [row]

    raw = application.topic(RAW, key_deserializer="bytes", value_deserializer="bytes")
    stitched = application.dataframe(raw).apply(stitch, stateful=True, metadata=True, expand=True)
    stitched.sink(sink)
    return application


if __name__ == "__main__":
    main()
