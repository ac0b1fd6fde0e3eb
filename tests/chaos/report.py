"""What a run comes to, as a table and as a list of what was broken."""

from collections import Counter
from collections.abc import Iterator
from statistics import median

from tests.chaos.run import Outcome

_MOST_SHOWN = 20


def table(outcome: Outcome) -> str:
    """In Markdown. What was broken is counted where the message was sent: after that fault, before the next."""
    counts: Counter[tuple[str, str]] = Counter(
        (outcome.kinds.get(each.fault, "none"), each.claim) for each in outcome.broken
    )
    kinds = {**outcome.recovered_s, **{kind: outcome.recovered_s.get(kind, []) for kind, _ in counts}}
    return "\n".join(_lines(kinds, counts, Counter(outcome.kinds.values())))


def _lines(kinds: dict[str, list[float]], counts: Counter[tuple[str, str]], times: Counter[str]) -> Iterator[str]:
    yield "| fault | how often | lost | twice | wrong owner | recovered after, s: p50 | max |"
    yield "|---|---|---|---|---|---|---|"
    for kind in sorted(kinds):
        took_s = kinds[kind]
        figures = f"{median(took_s):.1f} | {max(took_s):.1f}" if took_s else "none | none"
        broken = " | ".join(str(counts[kind, claim]) for claim in ("lost", "twice", "wrong owner"))
        yield f"| {kind} | {times[kind]} | {broken} | {figures} |"


def violations(outcome: Outcome) -> str:
    shown = [
        f"{each.claim} (after #{each.fault} {outcome.kinds.get(each.fault, 'none')}): {each.what}"
        for each in outcome.broken[:_MOST_SHOWN]
    ]
    left = len(outcome.broken) - len(shown)
    return "\n".join([*shown, *([f"… and {left} more"] if left else [])])
