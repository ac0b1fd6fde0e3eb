"""F-naive: consume, `orjson.loads`, a dict a row, insert, commit. What a user of clickhouse-connect writes first.

It is meant kindly: it takes records by the poll, not by `async for`, and keeps objects as text, which cost the client
19 to 30 µs an event where a JSON column cost 30 to 54.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

import clickhouse_connect
import orjson
from aiokafka import ConsumerRecord

from bench.sides import Side, say_begin, say_end, side_of_arguments
from bench.sides.events_table import COLUMNS, create
from bench.sides.polls import consumer, drain
from store.address import address_of
from topics.raw import STAMP_HEADER

MOST_ROWS = 10_000


async def run(side: Side) -> None:
    address = address_of(side.store)
    client = clickhouse_connect.get_client(host=address.host, port=address.port, database=address.database)
    client.command(create(side.group, "String"))
    rows: list[dict[str, Any]] = []
    inserted = 0

    async def take(records: list[ConsumerRecord[bytes, bytes]]) -> None:
        rows.extend(_row(record) for record in records)
        if len(rows) >= MOST_ROWS:
            await insert()

    async def insert() -> None:
        nonlocal inserted
        client.insert(side.group, [list(row.values()) for row in rows], column_names=list(COLUMNS))
        inserted += len(rows)
        rows.clear()
        await reading.commit()

    async with consumer(side) as reading:
        say_begin()
        await drain(side, reading, take)
        if rows:
            await insert()
        say_end(inserted)


def _row(record: ConsumerRecord[bytes, bytes]) -> dict[str, Any]:
    event, stamp = orjson.loads(record.value or b""), orjson.loads(dict(record.headers)[STAMP_HEADER])
    return {
        "project_id": stamp["project_id"],
        "message_id": event["messageId"],
        "type": event["type"],
        "event_name": event.get("event"),
        "anonymous_id": event.get("anonymousId"),
        "user_id": event.get("userId"),
        "timestamp": datetime.fromisoformat(event["timestamp"]),
        "sent_at": datetime.fromisoformat(event["sentAt"]),
        "received_at": datetime.fromtimestamp(stamp["received_at_ms"] / 1000, UTC),
        "properties": orjson.dumps(event.get("properties", {})).decode(),
        "traits": orjson.dumps(event.get("traits", {})).decode(),
        "context": orjson.dumps(event.get("context", {})).decode(),
        "raw": (record.value or b"").decode(),
    }


if __name__ == "__main__":
    asyncio.run(run(side_of_arguments(__doc__)))
