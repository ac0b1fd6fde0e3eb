"""ClickHouse's own Kafka engine, in the engine of the embedded store, which runs in this process: what SQL can do.

It does less than the worker: it takes events as they come, with the fields that SQL can take out of JSON. Nothing is
validated; an anonymous event is attributed to nobody; a repeat is not looked for, but only hidden by
ReplacingMergeTree, for as long as both rows are in one partition of the table. On the other hand what it costs holds
the store's own work as well, which for all other sides is another process's.

A server would run the select below as a materialized view. The embedded engine has the Kafka engine, but no threads
for it (`background_message_broker_schedule_pool_size` is 0 and cannot be raised), so that the table is made and not
started: here the same select is run again and again, and each run commits what it has read.
"""

from typing import Final

import chdb

from bench.sides import Side, say_begin, say_end, side_of_arguments
from store.migrate import migrations
from store.tables import EVENTS
from topics.names import RAW
from topics.raw import STAMP_HEADER

_QUEUE: Final = "CREATE TABLE queue (raw String) ENGINE = Kafka SETTINGS {settings}"
_NOT_STARTED: Final = "Shutdown was called"
_BLOCK_ROWS: Final = 65_536

_FIELDS: Final = """Tuple(
    type String, event Nullable(String), anonymousId Nullable(String), userId Nullable(String),
    timestamp String, sentAt String,
    properties String, traits String, context String, integrations String)"""

_VIEW: Final = f"""
INSERT INTO {EVENTS} (
    project_id, message_id, type, event_name, anonymous_id, user_id, stitched_user_id,
    timestamp, original_timestamp, sent_at, received_at, properties, traits, context, integrations, library, raw)
WITH
    JSONExtract(_headers.value[indexOf(_headers.name, '{STAMP_HEADER}')],
        'Tuple(project_id String, message_id String, received_at_ms Int64)') AS stamp,
    JSONExtract(raw, '{_FIELDS}') AS call,
    parseDateTime64BestEffortOrNull(call.timestamp, 3, 'UTC') AS original,
    parseDateTime64BestEffortOrNull(call.sentAt, 3, 'UTC') AS sent,
    toUnixTimestamp64Milli(original) + stamp.received_at_ms - toUnixTimestamp64Milli(sent) AS corrected_ms,
    concat(JSONExtractString(call.context, 'library', 'name'), '/',
        JSONExtractString(call.context, 'library', 'version')) AS named
SELECT
    stamp.project_id, stamp.message_id, call.type,
    if(call.type = 'track', call.event, concat('$', call.type)), call.anonymousId, call.userId, call.userId,
    fromUnixTimestamp64Milli(ifNull(corrected_ms, stamp.received_at_ms), 'UTC'), original, sent,
    fromUnixTimestamp64Milli(stamp.received_at_ms, 'UTC'),
    if(empty(call.properties), '{{}}', call.properties), if(empty(call.traits), '{{}}', call.traits),
    if(empty(call.context), '{{}}', call.context), if(empty(call.integrations), '{{}}', call.integrations),
    nullIf(named, '/'), raw
FROM queue
SETTINGS stream_like_engine_allow_direct_select = 1, optimize_on_insert = 0"""


class _Engine:
    """The embedded engine with the store's own table of events, and the Kafka table that is read into it."""

    def __init__(self, side: Side) -> None:
        self._connection = chdb.connect(str(side.new_folder()))
        for statement in migrations()[0].statements:
            self._connection.query(statement)
        try:
            self._connection.query(_QUEUE.format(settings=_settings(side)))
        except RuntimeError as error:
            if _NOT_STARTED not in str(error):
                raise

    def take(self) -> None:
        """What a materialized view does with a block: read it, store it, commit it."""
        self._connection.query(_VIEW)

    def number(self, sql: str) -> int:
        return int(str(self._connection.query(sql, "TSV")))


def main() -> None:
    side = side_of_arguments(__doc__)
    engine = _Engine(side)
    say_begin()
    while engine.number("SELECT sum(num_messages_read) FROM system.kafka_consumers") < side.events:
        engine.take()
    say_end(engine.number(f"SELECT count() FROM {EVENTS} FINAL"))


def _settings(side: Side) -> str:
    """One consumer, as all other sides have, and large blocks, because each block is an insert."""
    settings = {
        "kafka_broker_list": f"'{side.kafka}'",
        "kafka_topic_list": f"'{RAW}'",
        "kafka_group_name": f"'{side.group}'",
        "kafka_format": "'RawBLOB'",
        "kafka_num_consumers": 1,
        "kafka_poll_max_batch_size": _BLOCK_ROWS,
        "kafka_max_block_size": _BLOCK_ROWS,
        "kafka_commit_on_select": 1,
    }
    return ", ".join(f"{name} = {value}" for name, value in settings.items())


if __name__ == "__main__":
    main()
