from dataclasses import replace
from pathlib import Path

import pytest

from bench import results, table
from bench.comparisons import COMPARISONS
from bench.meter import Usage
from bench.plot import draw
from bench.results import Cost, Figure, Results
from bench.targets import CONTROL, TARGETS
from bench.turn import Turn

MACHINE = "2 shared cores, 24 GB, Python 3.11"
TUNED = Figure("f_tuned", 0.41, 0.39, 0.44, 7, "1,000,000 events, 7 pairs")


def found(*figures: Figure) -> Results:
    given = Results(MACHINE)
    given.add(list(figures))
    return given


def row(key: str, given: Results) -> list[str]:
    [target] = [target for target in TARGETS if target.key == key]
    [line] = [line for line in table.markdown(given).splitlines() if line.startswith(f"| {target.name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_row_has_targets_figure_interval_standing_and_command() -> None:
    assert row("f_tuned", found(TUNED))[1:] == [
        "0.3",
        "0.5",
        "**0.41**",
        "0.39 to 0.44",
        "good",
        "1,000,000 events, 7 pairs",
        "`bench --only f_tuned`",
    ]


def test_every_target_has_a_row_whether_measured_or_not() -> None:
    assert row("l1", found(TUNED))[3] == "not measured"
    assert len([line for line in table.markdown(found()).splitlines() if "not measured" in line]) == len(TARGETS)


def test_side_that_did_not_run_takes_its_old_figure_and_costs_away() -> None:
    given = found(TUNED)
    given.costs["f_tuned"] = [cost(is_right=True)]
    given.fail("f_tuned", "did not run")
    assert row("f_tuned", given)[3] == "did not run"
    assert given.costs == {}


def test_figure_that_is_measured_again_is_no_failure_any_more() -> None:
    given = found()
    given.fail("f_tuned", "did not run")
    given.add([TUNED])
    assert given.failures == {}


def test_single_pair_has_no_interval() -> None:
    assert row("f_tuned", found(replace(TUNED, pairs=1)))[4] == "–"  # noqa: RUF001


def test_memory_has_its_unit_and_less_of_it_is_better() -> None:
    assert row("memory", found(Figure("memory", 33)))[1:6] == ["120 B", "40 B", "**33 B**", "–", "reach"]  # noqa: RUF001


@pytest.mark.parametrize(("median", "is_void"), [(0.94, True), (1.0, False), (1.06, True)])
def test_run_is_void_where_a_worker_is_not_its_own_equal(median: float, is_void: bool) -> None:
    given = found(Figure(CONTROL, median, 0.9, 1.1, 7), TUNED)
    assert given.is_void is is_void
    assert ("**Void" in table.markdown(given)) is is_void


def test_run_without_the_control_is_not_void() -> None:
    assert not found(TUNED).is_void


def test_figure_of_a_wrong_answer_is_told_as_wrong() -> None:
    given = found(Figure("squashed", 0.8, is_right=False))
    assert row("squashed", given)[3] == "**WRONG answer**"
    assert given.wrong == 1


def turn(*, is_right: bool) -> Turn:
    return Turn(1000, Usage(cpu_s=0.5, wall_s=0.25, peak_mb=150, broker_cpu_s=0.002, store_cpu_s=0.004), is_right)


def cost(*, is_right: bool) -> Cost:
    return Cost.of("F-tuned", [turn(is_right=is_right)])


def test_turn_that_answered_wrong_scores_nothing() -> None:
    assert (turn(is_right=True).per_cpu_s, turn(is_right=True).per_s) == (2000, 4000)
    assert (turn(is_right=False).per_cpu_s, turn(is_right=False).per_s) == (0, 0)


def test_costs_stand_beside_the_score() -> None:
    given = found(TUNED)
    given.costs["f_tuned"] = [cost(is_right=True), cost(is_right=False)]
    text = table.markdown(given)
    assert "| `f_tuned` | F-tuned | 1,000 | 2,000 | 4,000 | 150 | 2.0 | 4.0 | right |" in text
    assert "| 1 turns WRONG |" in text
    assert given.wrong == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.4149, "0.415"), (12.34, "12.3"), (123456.7, "123,457"), (0, "0")],  # noqa: RUF001
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert table.number(value) == text


def test_results_come_back_as_they_were_saved(tmp_path: Path) -> None:
    given = found(TUNED)
    given.costs["f_tuned"] = [cost(is_right=True)]
    given.fail("quix", "did not run")
    given.save(tmp_path / "made" / "results.json")
    assert results.load(tmp_path / "made" / "results.json") == given


def test_there_are_no_results_before_the_first_run(tmp_path: Path) -> None:
    assert results.load(tmp_path / "results.json") is None


def test_page_is_replaced_between_its_marks_only(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{table.BEGIN}old\n{table.END}after\n")
    table.put_into(page, found(TUNED))
    table.put_into(page, found(TUNED))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert text.count("**0.41**") == 1
    assert "old" not in text


def test_plot_of_the_same_results_is_the_same(tmp_path: Path) -> None:
    given = found(TUNED, Figure("memory", 33), Figure("l1", 0.0), Figure(CONTROL, 1.0, 0.99, 1.01, 7))
    draw(given, tmp_path / "one.svg")
    draw(given, tmp_path / "other.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_every_comparison_has_a_target() -> None:
    assert {each.key for each in COMPARISONS} <= {target.key for target in TARGETS}


def test_keys_are_told_apart() -> None:
    assert len({target.key for target in TARGETS}) == len(TARGETS)
