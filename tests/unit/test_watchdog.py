"""A worker that is stuck is told from one that is idle or waits."""

from pipeline.watchdog import Watchdog

PATIENCE_S = 60


def looks(*seen: tuple[float, int, int, int]) -> list[bool]:
    watchdog = Watchdog(PATIENCE_S)
    return [watchdog.is_stuck(*each) for each in seen]


def test_work_that_lies_there_untouched_is_stuck_when_patience_ends() -> None:
    assert looks((0, 5, 100, 0), (59, 5, 100, 0), (60, 9, 100, 0)) == [False, False, True]


def test_nothing_to_do_is_never_stuck() -> None:
    assert looks((0, 0, 100, 0), (1000, 0, 100, 0), (1001, 5, 100, 0)) == [False, False, False]


def test_any_progress_starts_patience_anew() -> None:
    assert looks((0, 5, 100, 0), (50, 5, 101, 0), (100, 5, 101, 0), (110, 5, 101, 0)) == [False, False, False, True]


def test_whoever_says_that_they_try_again_is_waiting() -> None:
    assert looks((0, 5, 100, 0), (50, 5, 100, 1), (100, 5, 100, 2), (161, 5, 100, 2)) == [False, False, False, True]


def test_a_rebalance_that_takes_partitions_away_is_no_silence() -> None:
    assert looks((0, 5, 100, 0), (59, 5, 40, 0), (100, 5, 40, 0)) == [False, False, False]
