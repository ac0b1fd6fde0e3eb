from collections.abc import Sequence

from topics.records import RawRecord

def read_receipts(records: Sequence[RawRecord]) -> tuple[list[bytes | None], list[float]]: ...
