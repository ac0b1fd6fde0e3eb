"""What a process sets once that reads record batches by the thousand."""

import gc
from typing import Final

from aiokafka.consumer import fetcher

try:
    from broker import fetched_batch
except ImportError:  # whipstitch was installed where there is no C compiler
    fetched_batch = None  # type: ignore[assignment]

# A batch makes tens of thousands of objects that die with it and hold no cycles: look for cycles rarely.
_GC_THRESHOLDS: Final = (100_000, 20, 20)


def prepare() -> None:
    """For all consumers of this process, none of which may have a deserializer of its own."""
    gc.set_threshold(*_GC_THRESHOLDS)
    if fetched_batch is not None:
        fetcher.MemoryRecords = fetched_batch.FetchedBatches
        fetcher.PartitionRecords = fetched_batch.LightPartitionRecords
        fetcher.FetchResult = fetched_batch.LightFetchResult
