"""What two sides that took turns come to: who goes first, the ratio, how sure it is, and what it is worth.

Pure. Scores go in, events per CPU-second or any other thing of which more is better; a wrong answer scores 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np

Side = TypeVar("Side")

SEED = 20_260_921
_RESAMPLES = 10_000
_INTERVAL_PERCENT = (2.5, 97.5)
# What a side against itself must give, or the machine was not quiet enough to measure anything.
_SAME = (0.95, 1.05)


class Standing(StrEnum):
    SHORT = "short"
    GOOD = "good"
    REACH = "reach"
    NO_TARGET = ""


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the pairs' ratios, and the 95 % interval of that median."""

    median: float
    low: float
    high: float
    pairs: int

    @property
    def is_same(self) -> bool:
        """Whether a side against itself may give this."""
        return _SAME[0] <= self.median <= _SAME[1]


def in_turn(ours: Side, other: Side, pairs: int) -> Iterator[tuple[Side, Side]]:
    """Who goes first and who second in each pair: A B, B A, A B, so that a drift of the machine is nobody's gain."""
    for pair in range(pairs):
        yield (ours, other) if pair % 2 == 0 else (other, ours)


def ratio(ours: Sequence[float], others: Sequence[float]) -> Ratio:
    """Of scores pair by pair. A pair in which either answered wrong is worth 0. The same scores give the same ratio."""
    each = np.array([mine / its if its else 0.0 for mine, its in zip(ours, others, strict=True)])
    drawn = np.random.default_rng(SEED).choice(each, (_RESAMPLES, len(each)))
    low, high = np.percentile(np.median(drawn, axis=1), _INTERVAL_PERCENT)
    return Ratio(float(np.median(each)), float(low), float(high), len(each))


def standing(value: float, good: float | None, reach: float | None, *, is_lower_better: bool = False) -> Standing:
    """Where a figure stands to its targets."""
    if good is None or reach is None:
        return Standing.NO_TARGET
    sign = -1 if is_lower_better else 1
    if sign * value >= sign * reach:
        return Standing.REACH
    return Standing.GOOD if sign * value >= sign * good else Standing.SHORT
