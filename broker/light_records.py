"""Records as aiokafka's consumers hand them out, at less cost.

aiokafka makes a frozen dataclass of each record, which Python fills field by field through `object.__setattr__`, and
passes each through two loops. In processes that read record batches by the thousand, `broker.batch_process` has
consumers make a `LightRecord` instead, and take them from one iterator.
The plain way is aiokafka's own, and `tests/unit/test_light_records.py` holds this one to it, record by record.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
from aiokafka.consumer import fetcher


class LightRecord(msgspec.Struct, gc=False):
    """What a `ConsumerRecord` is, but for its deprecated checksum."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    checksum: None = None

    @property
    def serialized_key_size(self) -> int:
        return -1 if self.key is None else len(self.key)

    @property
    def serialized_value_size(self) -> int:
        return -1 if self.value is None else len(self.value)


class LightPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    def __iter__(self) -> Iterator[LightRecord]:
        records: Iterator[LightRecord] = self._records_iterator
        return records

    def _consumer_record(self, tp: Any, record: Any) -> LightRecord:
        topic, partition = tp
        return LightRecord(
            topic,
            partition,
            record.offset,
            record.timestamp,
            record.timestamp_type,
            record.key,
            record.value,
            tuple(record.headers),
        )


class LightFetchResult(fetcher.FetchResult):  # type: ignore[misc]
    def getall(self, max_records: int | None = None) -> list[LightRecord]:
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        records = list(islice(self._partition_records, max_records))  # type: ignore[has-type]
        self._update_position()
        if len(records) != max_records:
            self._partition_records = None
        return records
