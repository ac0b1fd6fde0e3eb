from topics.records import Headers
from topics.stitched import PlainEvent

def read_plain(value: bytes | None, headers: Headers, max_event_bytes: int) -> PlainEvent | None: ...
