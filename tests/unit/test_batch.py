from pipeline.batch import BatchLimits, SinkBatch
from tests.records import TestRecord
from topics.records import Stretch

LIMITS = BatchLimits(max_rows=3, max_bytes=100, max_wait_s=5.0)


def record(size: int = 10, offset: int = 0) -> TestRecord:
    return TestRecord(value=b"x" * size, topic="events.stitched", offset=offset)


def batch_of(*sizes: int, now_s: float = 0.0) -> SinkBatch:
    batch = SinkBatch()
    for size in sizes:
        batch.append([record(size)], [b"x" * size], lambda: None, now_s)
    return batch


def test_full_by_rows() -> None:
    assert not batch_of(1, 1).is_full(LIMITS)
    assert batch_of(1, 1, 1).is_full(LIMITS)


def test_full_by_bytes() -> None:
    assert not batch_of(99).is_full(LIMITS)
    assert batch_of(99, 1).is_full(LIMITS)


def test_due_by_the_age_of_its_first_records() -> None:
    batch = batch_of(1, now_s=100.0)
    batch.append([record()], [b"x"], lambda: None, 104.0)
    assert batch.due_in_s(LIMITS, 104.0) == 1.0
    assert batch.due_in_s(LIMITS, 106.0) == 0.0


def test_due_at_once_when_full() -> None:
    assert batch_of(100, now_s=100.0).due_in_s(LIMITS, 100.0) == 0.0


def test_rows_of_a_poll_are_one_block() -> None:
    batch = SinkBatch()
    for rows in ([b"a", b"b"], [], [b"c"]):
        batch.append([record() for _ in rows] or [record()], rows, lambda: None, 0.0)
    assert (batch.blocks, batch.rows, len(batch.acknowledge)) == ([b"a\nb", b"c"], 3, 3)


def test_it_says_where_its_records_lie() -> None:
    batch = SinkBatch()
    batch.append([record(offset=3), record(offset=7)], [b"x", b"y"], lambda: None, 0.0)
    assert batch.stretches == [Stretch("events.stitched", 0, 3, 8, records=2)]


def token_of(*polls: list[int]) -> str:
    batch = SinkBatch()
    for offsets in polls:
        batch.append([record(offset=n) for n in offsets], [], lambda: None, 0.0)
    return batch.insert_token()


def test_a_token_names_the_records() -> None:
    assert token_of([1, 2]) == token_of([1, 2]) == token_of([1], [2])
    assert len({token_of([1, 2]), token_of([1, 3]), token_of([1, 2, 3]), token_of([0, 2])}) == 4
