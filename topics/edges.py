"""A record of `identity.merges`: one statement that ties two users of a project, or parts them again.

A fact is derived from one message, never from state. All facts of a project are on one partition, that of the
project's id, so one writer sees them all; the record's key is the fact's own, so that compaction keeps every fact and
a tombstone takes one away. Like a stitched event it is a row of the store in JSONEachRow form.
"""

from enum import StrEnum

import msgspec


class EdgeKind(StrEnum):
    ALIAS = "alias"  # directed: from_user_id is now called to_user_id
    MERGE = "merge"  # undirected: both are the same person; from_user_id is the smaller


class EdgeAction(StrEnum):
    JOIN = "join"  # asserts the edge
    PART = "part"  # takes it back


class EdgeFact(msgspec.Struct, frozen=True, gc=False):
    """`timestamp` and `received_at` are Unix seconds. The two users differ."""

    project_id: str
    kind: EdgeKind
    action: EdgeAction
    from_user_id: str
    to_user_id: str
    timestamp: float
    message_id: str
    received_at: float


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(EdgeFact).decode


def record_key(fact: EdgeFact) -> bytes:
    return fact_key(fact.project_id, round(fact.received_at * 1000), fact.message_id)


def fact_key(project_id: str, received_at_ms: int, message_id: str) -> bytes:
    return f"{project_id}|e:{received_at_ms}:{message_id}".encode("utf-8", "surrogatepass")


def project_of(key: bytes) -> str:
    """The project of a fact by its record's key. Raises UnicodeDecodeError."""
    return key.partition(b"|")[0].decode("utf-8", "surrogatepass")
