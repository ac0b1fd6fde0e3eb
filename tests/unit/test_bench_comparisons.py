"""Turns as they are taken: who goes when, on what, and what the sides are."""

from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from bench import unguarded
from bench.comparisons import COMPARISONS, Comparison, compare
from bench.load import records
from bench.meter import Usage
from bench.system import Loaded, System
from bench.turn import ROOT, Peer, Turn, TurnFailed
from pipeline import stitch
from pipeline.dedupe import SeenIds
from pipeline.rules import Rules
from pipeline.settings import load
from tests.records import START_MS, raw_call

LOADED = Loaded(events=1000, different=950)


@dataclass
class Diary:
    entries: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FakeSide:
    """Uses as many CPU-seconds as it is told, turn by turn."""

    name: str
    cpu_s: list[float]
    diary: Diary
    is_right: bool = True

    def take_turn(self, system: System, loaded: Loaded, group: str) -> Turn:
        self.diary.entries.append(self.name)
        self.diary.groups.append(group)
        return Turn(loaded.events, Usage(self.cpu_s.pop(0), 2.0, 100, 0.1, 0.1), self.is_right)


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
def system(diary: Diary, tmp_path: Path) -> System:
    class FakeSystem(System):
        def reset(self) -> None:
            diary.entries.append("reset")

    return FakeSystem(load({}, tmp_path / "none"), psutil.Process(), psutil.Process(), tmp_path)


def test_every_turn_begins_with_a_reset_and_sides_go_first_by_turns(system: System, diary: Diary) -> None:
    ours, other = FakeSide("ours", [1, 1], diary), FakeSide("other", [1, 1], diary)
    compare(system, LOADED, Comparison("key", ours, other), 2, str)
    assert diary.entries == ["reset", "ours", "reset", "other", "reset", "other", "reset", "ours"]


def test_no_two_turns_share_a_name_for_what_they_make(system: System, diary: Diary) -> None:
    ours, other = FakeSide("ours", [1, 1], diary), FakeSide("other", [1, 1], diary)
    compare(system, LOADED, Comparison("key", ours, other), 2, str)
    assert len({*diary.groups}) == 4


def test_scores_are_of_the_pair_in_which_they_were_taken(system: System, diary: Diary) -> None:
    ours, other = FakeSide("ours", [1, 4, 1], diary), FakeSide("other", [2, 8, 4], diary)
    figure, costs = compare(system, LOADED, Comparison("key", ours, other), 3, str)
    assert (figure.value, figure.pairs) == (2, 3)
    assert [(cost.side, cost.per_cpu_s) for cost in costs] == [("ours", 1000), ("other", 250)]


def test_wrong_answer_makes_the_ratio_nothing_however_quick_it_was(system: System, diary: Diary) -> None:
    ours, other = FakeSide("ours", [0.001], diary, is_right=False), FakeSide("other", [1], diary)
    figure, [cost, _] = compare(system, LOADED, Comparison("key", ours, other), 1, str)
    assert (figure.value, cost.wrong_turns) == (0, 1)


def test_comparison_by_wall_asks_the_clock(system: System, diary: Diary) -> None:
    ours, other = FakeSide("ours", [1], diary), FakeSide("other", [9], diary)
    figure, _ = compare(system, LOADED, Comparison("key", ours, other, is_by_wall=True), 1, str)
    assert figure.value == 1


def test_side_that_ends_without_its_lines_is_told(system: System) -> None:
    with pytest.raises(TurnFailed, match="No module named"):
        Peer("nobody", "nobody").take_turn(system, LOADED, "bench_0")


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda comparison: comparison.key)
def test_sides_of_a_comparison_have_names_of_their_own(comparison: Comparison) -> None:
    assert comparison.ours.name != comparison.other.name


def test_sides_have_a_module() -> None:
    ours = {"l1", "f_tuned", "f_naive"}
    assert [name for name in sorted(ours) if not (ROOT / "bench" / "sides" / f"{name}.py").exists()] == []
    assert ours <= {each.other.module for each in COMPARISONS if isinstance(each.other, Peer)}


def test_worker_without_guarantees_keeps_repeats_and_ties_nobody() -> None:
    call: dict[str, object] = {"type": "identify", "anonymousId": "A", "userId": "U", "messageId": "m"}
    batch = [raw_call(call, at_ms=START_MS, offset=n) for n in range(2)]
    rules = Rules([], max_event_bytes=32 * 1024)
    bare = unguarded.decide(batch, SeenIds(60), {}, rules)
    guarded = stitch.decide(batch, SeenIds(60), {}, rules)
    assert len(bare.stitched) == 2
    assert ([*bare.links], bare.owners, len(bare.claimed)) == ([], {}, 0)
    assert bare.stitched[0] == guarded.stitched[0]


def test_load_is_the_same_each_time_and_holds_repeats() -> None:
    once, again = list(records(2000, 8)), list(records(2000, 8))
    assert once == again
    different = {value for _, (_, value, _, _) in once}
    assert 0.93 < len(different) / len(once) < 0.97
