"""Records as they are read from a topic and as they are written to one."""

from typing import Final, Protocol

UNREADABLE: Final = (ValueError, RecursionError)
"""What decoding bytes as JSON raises that are none, or not what was expected, or nested too deep."""

Headers = tuple[tuple[str, bytes], ...]

Record = tuple[bytes | None, bytes | None, int, Headers]
"""A record to publish: key, value, timestamp in Unix milliseconds, headers."""


class RawRecord(Protocol):
    """A record as a consumer hands it out; `timestamp` is Unix milliseconds."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...
