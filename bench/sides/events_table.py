"""The table of F-tuned and F-naive: the columns of `events` that can be had from an event alone."""

from typing import Final

COLUMNS: Final = {
    "project_id": "LowCardinality(String)",
    "message_id": "String",
    "type": "LowCardinality(String)",
    "event_name": "LowCardinality(Nullable(String))",
    "anonymous_id": "Nullable(String)",
    "user_id": "Nullable(String)",
    "timestamp": "DateTime64(3, 'UTC')",
    "sent_at": "Nullable(DateTime64(3, 'UTC'))",
    "received_at": "DateTime64(3, 'UTC')",
    "properties": "{objects}",
    "traits": "{objects}",
    "context": "{objects}",
    "raw": "String CODEC(ZSTD(1))",
}


def create(table: str, objects: str) -> str:
    """The statement that makes it, `properties` and the like as type `objects`."""
    columns = ", ".join(f"{name} {written.format(objects=objects)}" for name, written in COLUMNS.items())
    return f"CREATE TABLE {table} ({columns}) ENGINE = MergeTree ORDER BY (project_id, message_id)"
