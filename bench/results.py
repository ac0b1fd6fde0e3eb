"""What was measured, kept as a file, so that a part can be measured again and the table still be whole."""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

import msgspec
import psutil

from bench.ratios import Ratio
from bench.targets import CONTROL
from bench.turn import Turn


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the table, by the key of its target. `low` and `high` are of the 95 % interval, where it was taken
    in pairs; `of` says of how much it was taken. What was taken of a wrong answer is worth nothing."""

    key: str
    value: float
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    of: str = ""
    is_right: bool = True

    @classmethod
    def of_ratio(cls, key: str, found: Ratio, of: str) -> Self:
        return cls(key, found.median, found.low, found.high, found.pairs, of)


@dataclass(frozen=True, slots=True)
class Cost:
    """What stands beside the score of one side of a comparison: medians of its turns."""

    side: str
    events: int
    per_cpu_s: float
    per_s: float
    peak_mb: float
    broker_us: float
    store_us: float
    wrong_turns: int

    @classmethod
    def of(cls, side: str, turns: list[Turn]) -> Self:
        return cls(
            side,
            events=round(median(turn.events for turn in turns)),
            per_cpu_s=median(turn.per_cpu_s for turn in turns),
            per_s=median(turn.per_s for turn in turns),
            peak_mb=median(turn.usage.peak_mb for turn in turns),
            broker_us=median(turn.usage.broker_cpu_s * 1e6 / turn.events for turn in turns),
            store_us=median(turn.usage.store_cpu_s * 1e6 / turn.events for turn in turns),
            wrong_turns=sum(not turn.is_right for turn in turns),
        )


@dataclass(slots=True)
class Results:
    """By the key of a target: its figure, the costs of both sides, or why there is none."""

    machine: str
    figures: dict[str, Figure] = field(default_factory=dict)
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, figures: list[Figure]) -> None:
        for figure in figures:
            self.figures[figure.key] = figure
            self.failures.pop(figure.key, None)

    def fail(self, key: str, why: str) -> None:
        self.figures.pop(key, None)
        self.costs.pop(key, None)
        self.failures[key] = why

    @property
    def is_void(self) -> bool:
        """Whether a worker was not even its own equal, so that no ratio of this machine means anything."""
        control = self.figures.get(CONTROL)
        return control is not None and not Ratio(control.value, 0, 0, control.pairs).is_same

    @property
    def wrong(self) -> int:
        """How many turns and figures came of a wrong answer."""
        turns = sum(cost.wrong_turns for costs in self.costs.values() for cost in costs)
        return turns + sum(not figure.is_right for figure in self.figures.values())

    def save(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")


def load(file: Path) -> Results | None:
    return msgspec.json.decode(file.read_bytes(), type=Results) if file.exists() else None


def this_machine(python: str) -> str:
    """What it has, and not whose it is."""
    gigabytes = round(psutil.virtual_memory().total / 2**30)
    return f"{psutil.cpu_count()} cores, {gigabytes} GB, Python {python}"
