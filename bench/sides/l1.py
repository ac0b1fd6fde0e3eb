"""L1: consume, and decode with types, properties left as bytes. Nothing else: the floor under anything in Python."""

import asyncio

import msgspec
from aiokafka import ConsumerRecord

from bench.sides import Side, say_begin, say_end, side_of_arguments
from bench.sides.polls import consumer, drain

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


async def run(side: Side) -> None:
    decode = msgspec.json.Decoder(Call).decode

    async def take(records: list[ConsumerRecord[bytes, bytes]]) -> None:
        for record in records:
            decode(record.value or b"")

    async with consumer(side) as reading:
        say_begin()
        await drain(side, reading, take)
        say_end(side.events)


if __name__ == "__main__":
    asyncio.run(run(side_of_arguments(__doc__)))
