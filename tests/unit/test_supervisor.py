"""The supervisor: delays, restarts and the order of stopping, with real (small) child processes."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded import process
from embedded.errors import EmbeddedError
from embedded.supervisor import Child, Died, Lost, Part, Refused, Restarts, Running, Started, StopAsked, Supervisor
from tests.waiting import eventually

WAIT_S = 20
LIVES_ON = "import time; time.sleep(600)"
TAKES_NO_HINT = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); " + LIVES_ON
)


def test_delay_doubles_from_one_second_to_thirty() -> None:
    restarts = Restarts()
    delays = []
    for _ in range(7):
        restarts = restarts.died(started_at_s=0, now_s=1)
        delays.append(restarts.delay_s)
    assert delays == [1, 2, 4, 8, 16, 30, 30]


def test_first_start_does_not_wait() -> None:
    assert Restarts().delay_s == 0


def test_after_a_minute_of_good_running_the_delays_begin_again() -> None:
    assert Restarts(deaths=6).died(started_at_s=100, now_s=160).delay_s == 1
    assert Restarts(deaths=6).died(started_at_s=100, now_s=159).delay_s == 30


@given(st.lists(st.floats(0, 1e6)))
def test_delay_is_never_zero_after_a_death_and_never_past_the_longest(lives_s: list[float]) -> None:
    restarts = Restarts()
    for life_s in lives_s:
        restarts = restarts.died(0, life_s)
        assert 1 <= restarts.delay_s <= 30


def test_part_that_dies_is_started_again_and_its_last_words_are_told(tmp_path: Path) -> None:
    with supervised(child("a", tmp_path, "print('no disk'); raise SystemExit(3)", LIVES_ON)) as supervisor:
        started, died, again = (supervisor.inbox.get(timeout=WAIT_S) for _ in range(3))
    assert isinstance(started, Started)
    assert died == Died("a", code=3, deaths=1, retry_in_s=1, last_words="  no disk")
    assert isinstance(again, Started)


def test_part_that_refuses_to_start_is_told_and_tried_again(tmp_path: Path) -> None:
    def refuse() -> Running:
        raise EmbeddedError("port 1: in use; free it")

    with supervised(Part("a", refuse, tmp_path / "log")) as supervisor:
        first, second = supervisor.inbox.get(timeout=WAIT_S), supervisor.inbox.get(timeout=WAIT_S)
    assert first == Refused("a", "port 1: in use; free it", retry_in_s=1)
    assert second == Refused("a", "port 1: in use; free it", retry_in_s=2)


def test_parts_start_side_by_side(tmp_path: Path) -> None:
    """Each start waits for the other one to have begun, so one after the other would never come to an end."""
    begun = {name: tmp_path / f"{name}.begun" for name in "ab"}

    def together(name: str, other: str) -> Part:
        body = f"import pathlib, time\npathlib.Path({str(begun[name])!r}).touch()\n" + LIVES_ON
        part = child(name, tmp_path, body)

        def start() -> Running:
            running = part.start()
            process.wait_ready(name, running.process, part.log_file, begun[other].exists, timeout_s=WAIT_S)
            return running

        return Part(name, start, part.log_file)

    with supervised(together("a", "b"), together("b", "a")) as supervisor:
        changes = [supervisor.inbox.get(timeout=WAIT_S) for _ in range(2)]
    assert {change.part for change in changes if isinstance(change, Started)} == {"a", "b"}


def test_stop_goes_from_the_last_part_to_the_first_and_leaves_nothing_running(tmp_path: Path) -> None:
    supervisor = Supervisor([child(name, tmp_path, LIVES_ON) for name in ("kafka", "store", "worker")])
    before = children()
    supervisor.start()
    for _ in range(3):
        assert isinstance(supervisor.inbox.get(timeout=WAIT_S), Started)
    stopped: list[str] = []
    supervisor.stop(stopped.append, give_up_after_s=WAIT_S)
    assert stopped == ["worker", "store", "kafka"]
    assert children() == before


def test_stopping_is_no_death(tmp_path: Path) -> None:
    supervisor = Supervisor([child("a", tmp_path, LIVES_ON)])
    supervisor.start()
    assert isinstance(supervisor.inbox.get(timeout=WAIT_S), Started)
    supervisor.stop(lambda _: None, give_up_after_s=WAIT_S)
    assert supervisor.inbox.empty()


def test_part_that_comes_up_while_all_is_being_stopped_is_stopped_as_well(tmp_path: Path) -> None:
    part = child("a", tmp_path, LIVES_ON)
    is_starting, may_start = threading.Event(), threading.Event()
    late: list[Running] = []

    def start_late() -> Running:
        is_starting.set()
        may_start.wait(WAIT_S)
        late.append(part.start())
        return late[0]

    supervisor = Supervisor([Part("a", start_late, part.log_file)])
    supervisor.start()
    assert is_starting.wait(WAIT_S)
    supervisor.stop(lambda _: None, give_up_after_s=0)
    may_start.set()
    eventually(lambda: bool(late) and late[0].process.poll() is not None, "the late part has ended")


def test_kill_ends_a_part_that_takes_no_hint(tmp_path: Path) -> None:
    part = child("a", tmp_path, TAKES_NO_HINT, stop_within_s=600)
    with supervised(Part("a", lambda: when_it_says_up(part), part.log_file)) as supervisor:
        assert isinstance(supervisor.inbox.get(timeout=WAIT_S), Started)
        supervisor.kill()
        died = supervisor.inbox.get(timeout=WAIT_S)
        assert isinstance(died, Died)
        assert died.code == -9


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_start_with_a_bug_does_not_go_unnoticed(tmp_path: Path) -> None:
    def bug() -> Running:
        raise ZeroDivisionError

    with supervised(Part("a", bug, tmp_path / "log")) as supervisor:
        assert supervisor.inbox.get(timeout=WAIT_S) == Lost("a")


def test_asking_to_stop_comes_through_the_same_inbox(tmp_path: Path) -> None:
    supervisor = Supervisor([])
    supervisor.ask_to_stop()
    assert supervisor.inbox.get(timeout=WAIT_S) == StopAsked()


def child(name: str, folder: Path, *bodies: str, stop_within_s: float = 10) -> Part:
    """A part that runs the first body at its first start, the next at the next, and the last from then on."""
    left = list(bodies)
    log_file = folder / f"{name}.log"

    def start() -> Running:
        body = left.pop(0) if len(left) > 1 else left[0]
        return Child(process.start(name, [sys.executable, "-c", body], log_file), stop_within_s)

    return Part(name, start, log_file)


def when_it_says_up(part: Part) -> Running:
    running = part.start()
    process.wait_ready("a", running.process, part.log_file, lambda: "up" in part.log_file.read_text(), WAIT_S)
    return running


@contextmanager
def supervised(*parts: Part) -> Iterator[Supervisor]:
    supervisor = Supervisor(parts)
    before = children()
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop(lambda _: None, give_up_after_s=WAIT_S)
    assert children() == before


def children() -> set[psutil.Process]:
    """Of this process; those of other tests' fixtures among them."""
    return {child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE}
