"""What a process sets once that reads record batches by the thousand."""

import gc
from typing import Final

from aiokafka.consumer import fetcher

from broker.light_records import LightFetchResult, LightPartitionRecords

# A batch makes tens of thousands of objects that die with it and hold no cycles: look for cycles rarely.
_GC_THRESHOLDS: Final = (100_000, 20, 20)


def prepare() -> None:
    """For all consumers of this process, none of which may have a deserializer of its own."""
    gc.set_threshold(*_GC_THRESHOLDS)
    fetcher.PartitionRecords = LightPartitionRecords
    fetcher.FetchResult = LightFetchResult
