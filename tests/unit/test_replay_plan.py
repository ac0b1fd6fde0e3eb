"""What can be replayed is told before anything is made; and how fast it may go."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from pipeline.settings import load
from replay.errors import Refused
from replay.folder import folder_of, is_running, locked, remove
from replay.pace import duration, pause_s, seconds_left
from replay.plan import Asked, check_others, replay_of
from replay.scope import Scope, Where
from replay.state import Overrides, Progress, Replay, Status, chosen, totals
from tests.records import START_MS, TestRecord, raw_call
from topics.control import Project
from topics.orders import Forget, order_record

NOW_MS = START_MS + 10_000
SETTINGS = load({}, Path("/nowhere"))
PROJECTS = [Project("p", 0), Project("q", 0, policy="isolate")]


def asked(project_id: str | None = "p", **given: object) -> Asked:
    return Asked(START_MS, START_MS + 1000, project_id, **given)  # type: ignore[arg-type]


def replay(project_id: str | None = "p", status: Status = Status.RUNNING, **given: object) -> Replay:
    return replace(replay_of(SETTINGS, asked(project_id, **given), PROJECTS, NOW_MS), status=status)


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "says"),
    [
        (START_MS, START_MS, "must be after --from"),
        (START_MS + 1, START_MS, "must be after --from"),
        (START_MS, NOW_MS + 1, "still to come"),
    ],
)
def test_range_that_is_none_is_refused(from_ms: int, to_ms: int, says: str) -> None:
    with pytest.raises(Refused, match=says):
        replay_of(SETTINGS, Asked(from_ms, to_ms), PROJECTS, NOW_MS)


def test_overrides_count_for_the_project_that_is_replayed() -> None:
    found = replay("p", overrides=Overrides(policy="last_wins", max_users_per_anonymous_id=3, dedupe_window_s=60))
    assert found.projects == (Project("p", 0, policy="last_wins", max_users_per_anonymous_id=3), PROJECTS[1])
    assert (found.dedupe_window_s, found.max_event_bytes) == (60, SETTINGS.max_event_bytes)
    assert replay(None, overrides=Overrides(implicit_links=False)).rules().of("q").implicit_links is False


@pytest.mark.parametrize(("one", "other"), [("p", "p"), (None, "p"), ("p", None), (None, None)])
def test_two_replays_of_a_project_are_refused(one: str | None, other: str | None) -> None:
    wanted = replay(one, overrides=Overrides(policy="isolate"))
    with pytest.raises(Refused, match=r"is running: .* comes first"):
        check_others(wanted, [replay(other)])


@pytest.mark.parametrize("others", [[], [replay("q")], [replay("p", Status.SWAPPED)]])
def test_replay_with_nothing_in_its_way_may_begin(others: list[Replay]) -> None:
    assert check_others(replay("p"), others) is None


@pytest.mark.parametrize("status", [Status.FILLING, Status.RUNNING])
def test_same_work_is_gone_on_with(status: Status) -> None:
    begun = replay("p", status)
    assert check_others(replay("p"), [begun]) is begun


def test_same_work_is_not_gone_on_with_by_other_rules_than_it_began_with() -> None:
    begun, changed = replay("p"), [Project("p", 0, policy="last_wins"), PROJECTS[1]]
    with pytest.raises(Refused, match=r"begun under other settings \(p\)"):
        check_others(replay_of(SETTINGS, asked("p"), changed, NOW_MS), [begun])
    longer = SETTINGS.model_copy(update={"dedupe_window_s": 90})
    with pytest.raises(Refused, match=r"begun under other settings \(dedupe_window_s\)"):
        check_others(replay_of(longer, asked("p"), PROJECTS, NOW_MS), [begun])
    elsewhere = [PROJECTS[0], Project("q", 0, policy="last_wins")]
    assert check_others(replay_of(SETTINGS, asked("p"), elsewhere, NOW_MS), [begun]) is begun


def test_same_work_that_is_finished_is_not_done_again() -> None:
    with pytest.raises(Refused, match="is finished"):
        check_others(replay("p"), [replay("p", Status.FINISHED)])


def test_replay_is_chosen_by_its_id_or_by_being_alone() -> None:
    one, other = replay("p"), replay("q")
    assert chosen([one], None) is one
    assert chosen([one, other], other.id) is other
    for found, wanted in (([], None), ([one, other], None), ([one], "nobody")):
        with pytest.raises(Refused, match="there are: "):
            chosen(found, wanted)


def test_totals_sum_the_partitions() -> None:
    sums = totals([Progress(0, 10, 15, 20, events=4, outside=1), Progress(1, 0, 3, 3, rejected=3)])
    assert (sums["done"], sums["total"], sums["events"], sums["rejected"], sums["outside"]) == (8, 13, 4, 3, 1)


def forget(project_id: str, at_ms: int) -> TestRecord:
    key, value, timestamp, headers = order_record(Forget(project_id, "A", ("u",)), at_ms)
    return TestRecord(value, headers, key, timestamp=timestamp)


@pytest.mark.parametrize(
    ("record", "of_all", "of_p"),
    [
        (raw_call({}, at_ms=START_MS), Where.WITHIN, Where.WITHIN),
        (raw_call({}, at_ms=START_MS + 999), Where.WITHIN, Where.WITHIN),
        (raw_call({}, at_ms=START_MS - 1), Where.BEYOND, Where.BEYOND),
        (raw_call({}, at_ms=START_MS + 1000), Where.BEYOND, Where.BEYOND),
        (raw_call({}, at_ms=START_MS, project_id="q"), Where.WITHIN, Where.ELSEWHERE),
        (TestRecord(b"garbage", timestamp=START_MS), Where.WITHIN, Where.ELSEWHERE),
        (TestRecord(b"garbage", timestamp=START_MS - 1), Where.BEYOND, Where.ELSEWHERE),
        (TestRecord(b"{", (("whipstitch", b"{"),), timestamp=START_MS), Where.WITHIN, Where.ELSEWHERE),
        (forget("p", START_MS), Where.WITHIN, Where.WITHIN),
        (forget("q", START_MS), Where.WITHIN, Where.ELSEWHERE),
    ],
)
def test_record_is_placed_by_its_stamp_or_by_its_own_time(record: TestRecord, of_all: Where, of_p: Where) -> None:
    assert Scope(START_MS, START_MS + 1000).where(record) is of_all
    assert Scope(START_MS, START_MS + 1000, "p").where(record) is of_p


def test_folder_is_had_by_one_and_goes_whole(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"data": tmp_path})
    folder, other = folder_of(settings, "r1"), folder_of(settings, "r2")
    assert not is_running(folder)
    with locked(folder):
        assert is_running(folder)
        with pytest.raises(Refused, match=r"running already, as process \d+"), locked(folder):
            pass
    with locked(other):
        remove(folder)
        assert [path.name for path in folder.parent.iterdir()] == ["r2"]
    remove(other)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "replay").write_text("in the way")
    settings = SETTINGS.model_copy(update={"data": tmp_path})
    with pytest.raises(Refused, match="cannot be written"), locked(folder_of(settings, "r1")):
        pass


@pytest.mark.parametrize(
    ("busy_s", "passed_s", "share", "pause"),
    [(1, 1, 100, 0), (1, 1, 50, 1), (1, 1.5, 50, 0.5), (1, 3, 50, 0), (0.5, 0.5, 10, 4.5), (2, 1, 100, 0)],
)
def test_work_is_kept_to_its_share(busy_s: float, passed_s: float, share: int, pause: float) -> None:
    assert pause_s(busy_s, passed_s, share) == pytest.approx(pause)


def test_time_that_is_left_is_told_as_people_say_it() -> None:
    assert [duration(each) for each in (None, 0.4, 59, 60, 3599.6, 3661, 90_000)] == [
        "unknown", "0 s", "59 s", "1 min 00 s", "1 h 00 min", "1 h 01 min", "25 h 00 min",
    ]  # fmt: skip
    assert seconds_left(40, 100, 20) == 3
    assert seconds_left(40, 100, 0) is None
