"""Record keys and partitions: all level-1 evidence on an anonymous id meets on one partition of every topic.

The partitioner is the one of Kafka's Java client, so that any Kafka client finds the same partition.
"""

from murmurhash2 import murmurhash2

_SEED = 0x9747B28C  # org.apache.kafka.common.utils.Utils.murmur2


def record_key(project_id: str, anonymous_id: str | None, user_id: str | None, message_id: str) -> bytes:
    """The key of a record: by anonymous id, else by user, else by message (an event with neither id)."""
    if anonymous_id:
        return anonymous_key(project_id, anonymous_id)
    if user_id:
        return f"{project_id}|u:{user_id}".encode("utf-8", "surrogatepass")
    return f"{project_id}|m:{message_id}".encode("utf-8", "surrogatepass")


def anonymous_key(project_id: str, anonymous_id: str) -> bytes:
    return f"{project_id}|a:{anonymous_id}".encode("utf-8", "surrogatepass")


def partition_of(key: bytes, partitions: int) -> int:
    return (murmurhash2(key, _SEED) & 0x7FFFFFFF) % partitions
