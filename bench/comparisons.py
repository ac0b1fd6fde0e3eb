"""Which sides are compared, and how: in turn, pair by pair, the system as it was before every turn."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count
from typing import Final

from bench.ratios import in_turn, ratio
from bench.results import Cost, Figure
from bench.system import Loaded, System
from bench.targets import CONTROL
from bench.turn import Peer, Side, Turn, Workers

_turn_numbers = count(1)


class Load(Enum):
    """What both sides of a comparison drain."""

    USUAL = auto()
    SHORT = auto()
    """Fewer events, as a side is slow."""
    EVEN = auto()
    """Of the usual one half is a single person's, and that partition one worker's, however many there are."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`is_by_wall`: the score is events per second."""

    key: str
    ours: Side
    other: Side
    load: Load = Load.USUAL
    is_by_wall: bool = False

    def score(self, turn: Turn) -> float:
        return turn.per_s if self.is_by_wall else turn.per_cpu_s


_WORKER: Final = Workers("worker")
# Each worker that is added finds CPU to spare on two cores too: for itself, and for what Kafka and the store do for it,
# which is four times as much.
_AN_EIGHTH: Final = Workers("a worker at an eighth of a core", cores=0.125)
_TWO_EIGHTHS: Final = Workers("two workers at an eighth of a core each", count=2, cores=0.125)
_UNGUARDED: Final = Workers("worker without dedupe and identity", command=("-m", "bench.unguarded"))

COMPARISONS: Final = (
    Comparison(CONTROL, _WORKER, Workers("the same worker")),
    Comparison("f_tuned", _WORKER, Peer("F-tuned", "f_tuned", stores="events")),
    Comparison("f_naive", _WORKER, Peer("F-naive", "f_naive", stores="events")),
    Comparison("l1", _WORKER, Peer("L1", "l1")),
    Comparison("guarantees", _WORKER, _UNGUARDED),
    Comparison("two_workers", _TWO_EIGHTHS, _AN_EIGHTH, Load.EVEN, is_by_wall=True),
    Comparison("faust_agent", _WORKER, Peer("S-faust", "faust_agent", stores="different"), load=Load.SHORT),
    Comparison("quix", _WORKER, Peer("Quix Streams", "quix", "different", is_foreign=True), load=Load.SHORT),
    Comparison("bytewax_flow", _WORKER, Peer("Bytewax", "bytewax_flow", "different", is_foreign=True), load=Load.SHORT),
    Comparison(
        "kafka_engine", _WORKER, Peer("ClickHouse's Kafka engine", "kafka_engine", "different"), load=Load.SHORT
    ),
)


def compare(
    system: System, loaded: Loaded, comparison: Comparison, pairs: int, turned: Callable[[str], object]
) -> tuple[Figure, list[Cost]]:
    """Take the turns; `turned` hears of each. Raises TurnFailed."""
    turns: dict[str, list[Turn]] = {comparison.ours.name: [], comparison.other.name: []}
    for pair in in_turn(comparison.ours, comparison.other, pairs):
        for side in pair:
            turn = _turn(system, loaded, side)
            turns[side.name].append(turn)
            turned(f"{comparison.key}: {side.name}, {turn.per_cpu_s:,.0f} events / CPU s, {turn.per_s:,.0f} / s")
    ours, others = turns.values()
    found = ratio([comparison.score(turn) for turn in ours], [comparison.score(turn) for turn in others])
    figure = Figure.of_ratio(comparison.key, found, f"{loaded.events:,} events, {pairs} pair{'s' * (pairs > 1)}")
    return figure, [Cost.of(name, each) for name, each in turns.items()]


def _turn(system: System, loaded: Loaded, side: Side) -> Turn:
    """Names are fit for a table and for a consumer group, and no two turns share one."""
    system.reset()
    return side.take_turn(system, loaded, f"bench_{next(_turn_numbers)}")
