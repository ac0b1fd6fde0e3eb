from collections.abc import Sequence

from topics.records import Headers, Record

class LightRecord:
    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Headers

def encode_records(records: Sequence[Record], start: int, room: int) -> tuple[bytes, int, int, int]: ...
def decode_records(
    body: bytes | memoryview,
    count: int,
    topic: str,
    partition: int,
    first_offset: int,
    first_timestamp: int,
    appended_at: int,
) -> list[LightRecord]: ...
