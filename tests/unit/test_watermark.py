import random

from pipeline.watermark import Watermark

READER = "stitch"


def delivered(*last_offsets: int) -> Watermark:
    watermark = Watermark()
    for last_offset in last_offsets:
        watermark.delivered(last_offset, [READER])
    return watermark


def test_nothing_is_committable_before_anything_is_done() -> None:
    assert delivered(0, 9).committable is None


def test_the_first_batch_of_all_may_be_offset_zero_alone() -> None:
    watermark = delivered(0)
    watermark.done(0, READER)
    assert watermark.committable == 1


def test_a_batch_done_early_waits_for_those_before_it() -> None:
    watermark = delivered(9, 19, 29)
    committable = []
    for last_offset in (19, 9, 29):
        watermark.done(last_offset, READER)
        committable.append(watermark.committable)
    assert committable == [None, 20, 30]


def test_done_twice_is_done_once() -> None:
    watermark = delivered(9, 19)
    watermark.done(9, READER)
    watermark.done(9, READER)
    assert watermark.committable == 10


def test_any_order_ends_at_the_last_batch() -> None:
    batches = list(range(9, 500, 10))
    watermark = delivered(*batches)
    order = random.Random(7).sample(batches, len(batches))
    finished: set[int] = set()
    for last_offset in order:
        watermark.done(last_offset, READER)
        finished.add(last_offset)
        expected = next((at for at in batches if at not in finished), 500)
        assert (watermark.committable or 0) <= expected
    assert watermark.committable == 500


def test_a_batch_of_two_readers_is_done_when_both_are() -> None:
    watermark = Watermark()
    for last_offset in (9, 19):
        watermark.delivered(last_offset, ["merge", "sink"])
    committable = []
    for last_offset, reader in ((9, "sink"), (19, "sink"), (9, "sink"), (9, "merge"), (19, "merge")):
        watermark.done(last_offset, reader)
        committable.append(watermark.committable)
    assert committable == [None, None, None, 10, 20]
