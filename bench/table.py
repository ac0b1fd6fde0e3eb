"""Results as Markdown: every figure beside what is to be reached, and beside the score what it took."""

from collections.abc import Iterator
from pathlib import Path

from bench.ratios import standing
from bench.results import Cost, Figure, Results
from bench.targets import CONTROL, TARGETS, Target

BEGIN, END = "<!-- measured: `make bench` writes this -->\n", "<!-- end of measured -->\n"
_NONE = "–"  # noqa: RUF001 (a dash, as tables have it)


def markdown(results: Results) -> str:
    return "\n".join(_lines(results)) + "\n"


def put_into(page: Path, results: Results) -> None:
    """Replace what stands between the page's two marks. Raises ValueError where it has none."""
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    page.write_text(
        f"{before}{BEGIN}\n![each figure against its targets]({page.stem}.svg)\n\n{markdown(results)}\n{END}{after}"
    )


def number(value: float | None) -> str:
    """Three digits, more only where they are whole."""
    if value is None:
        return _NONE
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _lines(results: Results) -> Iterator[str]:
    yield f"{results.machine}. Medians; trust ratios, not absolutes.\n"
    if results.is_void:
        yield f"**Void: a worker against itself gave {number(results.figures[CONTROL].value)}. Measure again.**\n"
    yield (
        "| ratio, events per CPU-second unless it says otherwise "
        "| good | reach | measured | 95 % | stands | of | `python -m` |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    yield from (_row(target, results) for target in TARGETS)
    yield "\nBeside the score, for each comparison in turn:\n"
    yield (
        "| comparison | side | events | events / CPU s | events / s | peak MB "
        "| Kafka's CPU, µs an event | the store's | answers |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    yield from (_cost(target, cost) for target in TARGETS for cost in results.costs.get(target.key, []))


def _row(target: Target, results: Results) -> str:
    targets = f"| {target.name} | {_with_unit(target.good, target)} | {_with_unit(target.reach, target)} "
    figure = results.figures.get(target.key)
    if figure is None or not figure.is_right:
        why = "**WRONG answer**" if figure else results.failures.get(target.key, "not measured")
        return f"{targets}| {why} | | | | `{target.command}` |"
    stands = standing(figure.value, target.good, target.reach, is_lower_better=target.is_lower_better)
    return (
        f"{targets}| **{_with_unit(figure.value, target)}** | {_interval(figure)} | {stands} | {figure.of} "
        f"| `{target.command}` |"
    )


def _with_unit(value: float | None, target: Target) -> str:
    return number(value) + (target.unit if value is not None else "")


def _interval(figure: Figure) -> str:
    return f"{number(figure.low)} to {number(figure.high)}" if figure.pairs > 1 else _NONE


def _cost(target: Target, cost: Cost) -> str:
    answers = f"{cost.wrong_turns} turns WRONG" if cost.wrong_turns else "right"
    return (
        f"| `{target.key}` | {cost.side} | {cost.events:,} | {cost.per_cpu_s:,.0f} | {cost.per_s:,.0f} "
        f"| {cost.peak_mb:,.0f} | {cost.broker_us:.1f} | {cost.store_us:.1f} | {answers} |"
    )
