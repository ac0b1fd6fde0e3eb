import pytest

from bench.ratios import Ratio, Standing, in_turn, ratio, standing


def test_sides_go_first_by_turns() -> None:
    assert list(in_turn("A", "B", 3)) == [("A", "B"), ("B", "A"), ("A", "B")]


def test_ratio_is_the_median_of_the_pairs_not_the_ratio_of_the_medians() -> None:
    assert ratio([1, 4, 9], [1, 2, 3]).median == 2


def test_interval_holds_the_median_and_lies_within_the_pairs() -> None:
    found = ratio([10, 11, 12, 13, 14, 15, 16], [10] * 7)
    assert 1.0 <= found.low < found.median < found.high <= 1.6


def test_same_scores_give_the_same_interval() -> None:
    scores = ([3.0, 5.0, 4.0, 9.0], [1.0, 2.0, 2.0, 3.0])
    assert ratio(*scores) == ratio(*scores)


def test_equal_sides_leave_no_doubt() -> None:
    assert ratio([7, 8, 9], [7, 8, 9]) == Ratio(1, 1, 1, 3)


@pytest.mark.parametrize("scores", [([0.0], [5.0]), ([5.0], [0.0])])
def test_wrong_answer_on_either_side_is_worth_nothing(scores: tuple[list[float], list[float]]) -> None:
    assert ratio(*scores).median == 0


def test_unequal_numbers_of_turns_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio([1, 2], [1])


@pytest.mark.parametrize(
    ("median", "is_same"), [(0.949, False), (0.95, True), (1.0, True), (1.05, True), (1.051, False), (0.0, False)]
)
def test_side_against_itself_may_differ_by_a_twentieth(median: float, is_same: bool) -> None:
    assert Ratio(median, 0, 2, 7).is_same is is_same


@pytest.mark.parametrize(
    ("value", "stands"),
    [(0.29, Standing.SHORT), (0.3, Standing.GOOD), (0.49, Standing.GOOD), (0.5, Standing.REACH), (2, Standing.REACH)],
)
def test_more_is_better(value: float, stands: Standing) -> None:
    assert standing(value, 0.3, 0.5) is stands


@pytest.mark.parametrize(
    ("value", "stands"),
    [(121, Standing.SHORT), (120, Standing.GOOD), (41, Standing.GOOD), (40, Standing.REACH), (0, Standing.REACH)],
)
def test_less_is_better_where_the_target_says_so(value: float, stands: Standing) -> None:
    assert standing(value, 120, 40, is_lower_better=True) is stands


def test_figure_without_a_target_stands_nowhere() -> None:
    assert standing(1, None, None) is Standing.NO_TARGET
