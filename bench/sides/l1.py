"""L1: consume, and decode with types, properties left as bytes. Nothing else: the floor under anything in Python."""

import asyncio

import msgspec
from aiokafka import ConsumerRecord

from bench.sides.process import Task, asked, consumer, drain, say

EMPTY = msgspec.Raw(b"{}")


class Call(msgspec.Struct, rename="camel", gc=False):
    type: str
    message_id: str
    anonymous_id: str | None = None
    user_id: str | None = None
    event: str | None = None
    timestamp: str | None = None
    sent_at: str | None = None
    properties: msgspec.Raw = EMPTY
    traits: msgspec.Raw = EMPTY
    context: msgspec.Raw = EMPTY


async def run(task: Task) -> None:
    decode = msgspec.json.Decoder(Call).decode

    async def take(records: list[ConsumerRecord[bytes, bytes]]) -> None:
        for record in records:
            decode(record.value or b"")

    async with consumer(task) as reading:
        say("begin")
        await drain(task, reading, take)
        say("end")


if __name__ == "__main__":
    asyncio.run(run(asked()))
