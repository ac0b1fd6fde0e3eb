"""Records that no ingress wrote: garbage straight into a topic, and events whose receipt is a day off."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from broker.producer import DurableProducer
from pipeline.settings import Settings
from tests.chaos.traffic import SHIFTED, family_call
from topics.keys import partition_of, record_key
from topics.names import LINKS, MERGES, PERSONS, PROJECTS, RAW, STITCHED
from topics.raw import Stamp, stamp_header
from topics.records import Headers, Record

GARBAGE_PROJECT = "garbage"
GARBAGE_KEY = b"garbage"
DAY_MS = 86_400_000
_HOUR_MS = 3_600_000

_VALUES = (
    b"",
    b"\x00\xff garbage",
    b"not json",
    b"null",
    b"[]",
    b"{}",
    b'{"project_id":1}',
    b'{"project_id":"garbage","user_id":"\xff"}',
    b'{"project_id":"garbage","message_id":"m","received_at":"never"}',
    b"[" * 100_000,
    b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
)
_HEADERS: tuple[Headers, ...] = (
    (),
    (("whipstitch", b"{"),),
    (("whipstitch", b"[" * 50_000),),
    (("whipstitch", b"\xff"),),
    (("whipstitch", json.dumps({"project_id": GARBAGE_PROJECT, "message_id": "m", "received_at_ms": 1}).encode()),),
    (("whipstitch-forget", b""),),
    (("whipstitch-rejection", b"{"),),
)
# A compacted topic takes no record without a key, and one without a value takes away what has its key.
_KEYS = (GARBAGE_KEY, b"\xff\xfe", b"project/garbage", b"key/garbage", b"|s:x:", b"garbage|e:1:m")


@dataclass(frozen=True, slots=True)
class At:
    """Where a record stands."""

    topic: str
    partition: int
    offset: int


def garbage(pick: Random, settings: Settings, topic: str) -> list[At]:
    """Publish it, and say where it stands."""
    now_ms = time.time_ns() // 1_000_000
    records: list[Record] = [
        (pick.choice(_KEYS), value, now_ms, pick.choice(_HEADERS)) for value in (*_VALUES, None, b"garbage again")
    ]
    pick.shuffle(records)
    partitions = 1 if topic == PROJECTS else settings.partitions
    return asyncio.run(_publish(settings, topic, [(pick.randrange(partitions), record) for record in records]))


GARBAGE_TOPICS = (RAW, STITCHED, LINKS, MERGES, PERSONS, PROJECTS)


def shifted(pick: Random, settings: Settings, name: str) -> list[tuple[str, str]]:
    """Events of one family, received by a clock that is right, then a day ahead, then right, then a day behind, some
    of them again by another of these clocks, and one around the end of the window; the ids that were published."""
    now_ms = time.time_ns() // 1_000_000
    records: list[Record] = []
    ids = []
    number = 0
    for off_ms in (0, DAY_MS, 0, -DAY_MS, 0, DAY_MS + _HOUR_MS, 0):
        calls = []
        for _ in range(pick.randint(3, 9)):
            number += 1
            calls.append(family_call(pick, name, number, now_ms + off_ms))
            ids.append((SHIFTED.id, f"{name}.{number}"))
        records += [_raw(call, now_ms + off_ms + number) for call in calls]
        again_ms = pick.choice([off_ms + number, 0, DAY_MS, -DAY_MS])
        records += [_raw(call, now_ms + again_ms) for call in pick.sample(calls, 2)]
    at_edge: dict[str, object] = {
        "type": "track",
        "event": "Edge",
        "messageId": f"{name}.edge",
        "anonymousId": f"{name}.a0",
    }
    window_ms = settings.dedupe_window_s * 1000
    records += [_raw(at_edge, now_ms + after_ms) for after_ms in (0, window_ms - 1, window_ms, window_ms + 1)]
    placed = [(partition_of(record[0] or b"", settings.partitions), record) for record in records]
    asyncio.run(_publish(settings, RAW, placed))
    return [*ids, (SHIFTED.id, f"{name}.edge")]


def _raw(call: dict[str, object], received_ms: int) -> Record:
    message_id = str(call["messageId"])
    stamp = Stamp(SHIFTED.id, message_id, received_ms, key_kind="secret")
    anonymous, user = call.get("anonymousId"), call.get("userId")
    key = record_key(SHIFTED.id, str(anonymous) if anonymous else None, str(user) if user else None, message_id)
    return key, json.dumps(call).encode(), received_ms, (stamp_header(stamp),)


async def _publish(settings: Settings, topic: str, placed: Sequence[tuple[int, Record]]) -> list[At]:
    producer = DurableProducer(settings)
    await producer.start()
    try:
        return [
            At(topic, partition, await producer.send(topic, partition, [record]) - 1) for partition, record in placed
        ]
    finally:
        await producer.stop()
