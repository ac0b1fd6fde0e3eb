"""Takes everything that was asked for, one after the other, and saves what it has after each."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from rich.progress import Progress, TaskID

from bench import dedupe, drain, identity, ingress, known_ids, latency, replay, views
from bench.comparisons import COMPARISONS, Comparison, Load, compare
from bench.results import Figure, Results
from bench.system import Loaded, System, system
from bench.turn import TurnFailed

_Take: TypeAlias = Callable[[], list[Figure]]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything. `short_events` are for comparisons with a slow side, `even_events` for several workers:
    the first to be ready must not have done all before the last is. `requests` are for each turn."""

    events: int = 1_000_000
    short_events: int = 100_000
    even_events: int = 1_000_000
    pairs: int = 7
    requests: int = 8_000
    ids: int = 10_000_000
    ids_counted: int = 500_000
    rows: int = 10_000_000
    probes: int = 200
    half_events: int = 500_000
    identity_turns: int = 15

    def events_of(self, load: Load) -> int:
        match load:
            case Load.USUAL:
                return self.events
            case Load.SHORT:
                return self.short_events
            case Load.EVEN:
                return self.even_events


QUICK: Final = Scale(
    events=20_000,
    short_events=5_000,
    even_events=150_000,
    pairs=1,
    requests=1_000,
    ids=200_000,
    ids_counted=50_000,
    rows=200_000,
    probes=5,
    half_events=20_000,
    identity_turns=3,
)


@dataclass(frozen=True, slots=True)
class Runner:
    """`keys` are the figures that are wanted; what is found goes into `found`, and that into `file`."""

    found: Results
    file: Path
    scale: Scale
    keys: Set[str]
    progress: Progress

    def run(self) -> None:
        for load in Load:
            wanted = [each for each in COMPARISONS if each.load is load and each.key in self.keys]
            if wanted:
                self._compare_all(wanted, load)
        for keys, take in self._others().items():
            if self.keys & {*keys}:
                self._take(keys, take)

    def _compare_all(self, wanted: list[Comparison], load: Load) -> None:
        with system() as running:
            loaded = running.preload(self.scale.events_of(load), is_even=load is Load.EVEN)
            for comparison in wanted:
                self._compare(running, loaded, comparison)

    def _compare(self, running: System, loaded: Loaded, comparison: Comparison) -> None:
        task = self.progress.add_task(comparison.key, total=2 * self.scale.pairs)
        try:
            figure, costs = compare(running, loaded, comparison, self.scale.pairs, lambda said: self._tell(task, said))
        except TurnFailed as failed:
            self._tell(task, str(failed))
            self.found.fail(comparison.key, "did not run")
        else:
            self.found.add([figure])
            self.found.costs[comparison.key] = costs
        self.found.save(self.file)

    def _take(self, keys: tuple[str, ...], take: _Take) -> None:
        task = self.progress.add_task(", ".join(keys), total=1)
        figures = take()
        self.found.add(figures)
        self.found.save(self.file)
        self._tell(task, "; ".join(f"{figure.key}: {figure.value:.3g}" for figure in figures))

    def _tell(self, task: TaskID, said: str) -> None:
        self.progress.console.print(said, markup=False, highlight=False)
        self.progress.advance(task)

    def _others(self) -> Mapping[tuple[str, ...], _Take]:
        """By the keys of the figures that each brings."""
        scale = self.scale
        return {
            ("ingress", "ingress_batch"): lambda: ingress.figures(scale.pairs, scale.requests),
            ("replay",): lambda: replay.figures(scale.events, scale.pairs),
            ("memory",): lambda: dedupe.figures(scale.ids, scale.ids_counted),
            ("many_ids",): lambda: known_ids.figures(scale.ids, 3 * scale.pairs),
            ("resolved", "squashed"): lambda: views.figures(scale.rows, scale.pairs),
            ("latency_row", "latency_who"): lambda: latency.figures(scale.probes),
            ("halves",): lambda: drain.figures(scale.half_events),
            ("identify",): lambda: identity.figures(scale.identity_turns),
        }
