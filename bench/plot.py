"""Results as a picture: how far each figure is from good, and where reach lies."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Drawing

from bench.ratios import Standing, standing
from bench.results import Figure, Results
from bench.table import number
from bench.targets import TARGETS, Target

_COLOURS = {Standing.SHORT: "#c0504d", Standing.GOOD: "#7f9f3f", Standing.REACH: "#2e7d32"}
_ROW_INCHES = 0.42
_LEAST_SHOWN, _MOST_SHOWN = 0.05, 1000


def draw(results: Results, file: Path) -> None:
    """An SVG; the same results give the same bytes."""
    shown = [
        (target, results.figures[target.key]) for target in TARGETS if target.good and target.key in results.figures
    ]
    drawing = Drawing(figsize=(9, 1.5 + _ROW_INCHES * len(shown)), layout="constrained")
    axes = drawing.subplots()
    for row, (target, figure) in enumerate(reversed(shown)):
        _bar(axes, row, target, figure)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(_LEAST_SHOWN, 1.6 * axes.get_xlim()[1])
    axes.set_yticks(range(len(shown)), [target.name.replace("`", "") for target, _ in reversed(shown)], fontsize=8)
    axes.set_xlabel("times as good as “good” (the line); ◆ is “reach”")
    axes.set_title(f"{'VOID: ' if results.is_void else ''}{results.machine}", fontsize=9)
    with mpl.rc_context({"svg.hashsalt": "whipstitch"}):
        drawing.savefig(file, metadata={"Date": None})


def _bar(axes: "mpl.axes.Axes", row: int, target: Target, figure: Figure) -> None:
    value, reach = _to_good(figure.value, target), _to_good(target.reach or 0, target)
    stands = standing(figure.value, target.good, target.reach, is_lower_better=target.is_lower_better)
    axes.barh(row, value, color=_COLOURS[stands], height=0.6)
    axes.plot([reach], [row], marker="D", color="black", markersize=5)
    if figure.low is not None and figure.high is not None and figure.pairs > 1:
        ends = [_to_good(end, target) for end in (figure.low, figure.high)]
        axes.plot(ends, [row, row], color="black", linewidth=1.5)
        value = max(value, *ends)
    axes.annotate(
        f"{number(figure.value)}{target.unit}",
        (max(value, reach), row),
        (9, 0),
        textcoords="offset points",
        va="center",
    )


def _to_good(value: float, target: Target) -> float:
    """How many times as good as good, as far as that is shown."""
    good = target.good or 1
    times = good / max(value, good / _MOST_SHOWN) if target.is_lower_better else value / good
    return max(times, _LEAST_SHOWN)
