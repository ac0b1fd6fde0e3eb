"""What raw records are remembered by, from their stamps: in the compiled part and in Python."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedupe import seen_id
from pipeline.stamp_ids import stamp_ids
from pipeline.stitch import PlainBatch
from pipeline.without_compiler import PlainBatch as NoPlainBatch
from tests.records import TestRecord, damaged, raw_call
from topics.raw import LATEST_MS, STAMP_HEADER
from topics.records import Headers

LIMIT = 32 * 1024
TRACK: dict[str, object] = {"type": "track", "event": "Viewed", "anonymousId": "A"}


def id_of(headers: Headers) -> tuple[bytes, int]:
    """Of one record. The compiled part says the same as Python, or leaves it to Python."""
    record = TestRecord(b"{}", headers)
    receipts = stamp_ids([record], PlainBatch([record], LIMIT))
    assert stamp_ids([record], NoPlainBatch([record], LIMIT)) == receipts
    return receipts.ids(), receipts.row(0)[2]


@pytest.mark.parametrize("message_id", ["m", "", "x" * 300, "x" * 600, "ä", 'quo"te', "nul\0", "\u2028"])
@pytest.mark.parametrize("dialect", ["segment", "millimetric", "mixpanel"])
def test_an_id_is_of_the_project_and_the_message(message_id: str, dialect: str) -> None:
    record = raw_call(TRACK, message_id=message_id, dialect=dialect, at_ms=1_790_000_000_123)
    assert id_of(record.headers) == (seen_id("p", message_id), 1_790_000_000_123)


@pytest.mark.parametrize("size", [*range(124, 132), *range(252, 260), *range(508, 516), 5_000])
def test_texts_around_the_blocks_of_the_hash_make_the_same_ids(size: int) -> None:
    message_id = "ab" * (size // 2) + "c" * (size % 2)
    assert id_of(raw_call(TRACK, message_id=message_id).headers)[0] == seen_id("p", message_id)


def test_a_batch_keeps_its_order() -> None:
    records = [raw_call(TRACK, message_id=message_id) for message_id in ("a", "ä", "b")]
    records.insert(1, TestRecord(b"{}", ()))
    ids = stamp_ids(records, PlainBatch(records, LIMIT)).ids()
    assert ids[:16] + ids[32:] == b"".join(seen_id("p", message_id) for message_id in ("a", "ä", "b"))
    assert ids.count(ids[16:32]) == 1


@given(st.lists(st.one_of(st.text(max_size=8), st.integers(100, 600).map("x".__mul__)), max_size=15))
def test_ids_that_are_hashed_together_are_each_their_own(message_ids: list[str]) -> None:
    records = [raw_call(TRACK, message_id=message_id) for message_id in message_ids]
    ids = stamp_ids(records, PlainBatch(records, LIMIT)).ids()
    assert ids == b"".join(seen_id("p", message_id) for message_id in message_ids)


@pytest.mark.parametrize("received_at_ms", [b"-1", b"%d" % (LATEST_MS + 1), b"1" + b"0" * 400, b"1.5", b"null"])
def test_what_is_no_receipt_makes_it_no_stamp(received_at_ms: bytes) -> None:
    stamp = b'{"project_id":"p","message_id":"m","received_at_ms":%b}' % received_at_ms
    _, received_at = id_of(((STAMP_HEADER, stamp),))
    assert received_at == 0


@given(st.text(max_size=40), st.text(max_size=40), st.integers(0, LATEST_MS))
def test_any_texts_make_an_id(project_id: str, message_id: str, received_at_ms: int) -> None:
    record = raw_call(TRACK, project_id=project_id, message_id=message_id, at_ms=received_at_ms)
    assert id_of(record.headers) == (seen_id(project_id, message_id), received_at_ms)


def test_broken_stamps_are_read_as_in_python_or_left_to_it() -> None:
    rng = random.Random(7)
    [(name, whole)] = raw_call(TRACK, message_id="m-1", ip="203.0.113.7").headers
    for _ in range(5_000):
        id_of(((name, damaged(rng, whole)),))
