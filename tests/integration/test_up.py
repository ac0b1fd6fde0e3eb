"""`whipstitch up` as a person runs it: in a folder of their own, from the printed lines, with Ctrl-C."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from embedded.process import free_port, read_run, run_file
from tests.waiting import eventually

WHIPSTITCH = Path(sys.executable).parent / "whipstitch"
READY_WITHIN_S = 180  # the first start on a machine fetches Kafka
STOPPED_WITHIN_S = 90


@dataclass
class Up:
    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def data(self) -> Path:
        return self.folder / ".whipstitch"

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def is_ready(self) -> bool:
        return f"ready http://127.0.0.1:{self.port}\n" in self.stdout

    def line_after(self, heading: str) -> str:
        return self.stdout.partition(f"{heading}\n")[2].splitlines()[0]

    def pid(self, part: str) -> int:
        run = read_run(run_file(self.data, part))
        return run.pid if run else 0

    def address(self, part: str) -> str:
        run = read_run(run_file(self.data, part))
        return run.address if run else ""

    def interrupt(self) -> None:
        """What Ctrl-C does: the signal goes to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> int:
        return self.process.wait(STOPPED_WITHIN_S)


def whipstitch(folder: Path, *argv: str, **settings: str) -> subprocess.CompletedProcess[str]:
    env = environment() | settings
    return subprocess.run([WHIPSTITCH, *argv], cwd=folder, env=env, capture_output=True, text=True)


def pasted(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, shell=True, cwd=folder, env=environment(), capture_output=True, text=True)


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("WHIPSTITCH_")}


def start(folder: Path, port: int) -> Up:
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        argv = [str(WHIPSTITCH), "up", "--port", str(port)]
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    return Up(folder, port, process)


@contextmanager
def ready(folder: Path, port: int) -> Iterator[Up]:
    up = start(folder, port)
    try:
        eventually(lambda: up.is_ready or up.process.poll() is not None, "ready", READY_WITHIN_S, poll_s=0.05)
        assert up.is_ready, up.stderr
        yield up
    finally:
        if up.process.poll() is None:
            up.interrupt()
            up.end()


def names(up: Up) -> list[str]:
    """Names of the events that the store has, as a person asks for them."""
    asked = whipstitch(up.folder, "sql", "SELECT event_name FROM events ORDER BY event_name", "--format", "TSV")
    return asked.stdout.split()


def send(up: Up, name: str) -> None:
    """Send an event as the printed line does, but with a name of its own."""
    body = f'{{"userId":"ann","event":"{name}"}}'.encode()
    request = urllib.request.Request(f"http://127.0.0.1:{up.port}/v1/track", body, {"Authorization": authorization(up)})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


def authorization(up: Up) -> str:
    key = (up.folder / "key").read_text()
    return f"Bearer {key}"


def keep_key(up: Up) -> None:
    found = re.search(r"sk_\w+", up.stdout)
    assert found
    (up.folder / "key").write_text(found[0])


def running(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if _is_alive(process)]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with ready(tmp_path_factory.mktemp("up"), free_port()) as running_up:
        keep_key(running_up)
        yield running_up


def test_first_start_shows_keys_and_how_to_use_them_and_then_that_it_is_ready(up: Up) -> None:
    assert re.search(r"^  secret, for servers +sk_[0-9a-f]{40}$", up.stdout, re.MULTILINE)
    assert re.search(r"^  public, for browsers and apps pk_[0-9a-f]{40}$", up.stdout, re.MULTILINE)
    assert up.stdout.endswith(f"\nready http://127.0.0.1:{up.port}\n")


def test_printed_lines_work_when_they_are_pasted(up: Up) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    sent = pasted(up.line_after("send an event:"), up.folder)
    assert sent.stdout == '{"success":true}', sent.stderr
    ask = up.line_after("ask for it:")
    eventually(lambda: "\tann\tHello\n" in pasted(ask, up.folder).stdout, "the event is in the answer")


def test_doctor_finds_all_well_and_knows_the_port(up: Up) -> None:
    asked = whipstitch(up.folder, "doctor")
    assert asked.returncode == 0, asked.stdout
    assert f"http://127.0.0.1:{up.port}/health/ready: 200" in asked.stdout


def test_tail_shows_an_event_that_comes_meanwhile(up: Up) -> None:
    told = up.folder / "told"
    with told.open("wb") as out:
        argv = [str(WHIPSTITCH), "tail", "--project", "default"]
        tail = subprocess.Popen(argv, cwd=up.folder, env=environment(), stdout=out, stderr=out)
    eventually(lambda: "following" in told.read_text(), "tail follows")
    send(up, "Seen")
    eventually(lambda: "  default  track  Seen  ann\n" in told.read_text(), "the event is shown")
    tail.send_signal(signal.SIGINT)
    assert tail.wait(STOPPED_WITHIN_S) == 130
    assert "Traceback" not in told.read_text()


def test_second_up_on_the_same_folder_is_refused_and_names_the_first(up: Up) -> None:
    second = whipstitch(up.folder, "up", "--port", str(free_port()))
    assert second.returncode == 1
    assert f"in use by process {up.process.pid}" in second.stderr


def test_port_in_use_is_told_before_anything_starts(up: Up, tmp_path: Path) -> None:
    second = whipstitch(tmp_path, "up", "--port", str(up.port))
    assert second.returncode == 1
    assert second.stderr.endswith(
        f"127.0.0.1:{up.port}: Address already in use; stop what listens there, or choose a port with --port\n"
    )
    assert not (tmp_path / ".whipstitch" / "kafka").exists()


@pytest.mark.parametrize("part", ["worker", "ingress", "store", "kafka"])
def test_part_that_is_killed_is_started_again_where_it_was_and_events_are_stored(up: Up, part: str) -> None:
    before = read_run(run_file(up.data, part))
    assert before
    os.kill(before.pid, signal.SIGKILL)
    eventually(lambda: up.pid(part) not in {0, before.pid}, f"a new {part}", timeout_s=60)
    after = read_run(run_file(up.data, part))
    assert after
    assert after.address == before.address
    assert f"{part} died (code -9) and starts again in 1 s" in up.stderr
    eventually(lambda: takes(up, f"After_{part}"), "an event is taken", timeout_s=60)
    eventually(lambda: f"After_{part}" in names(up), "the event is stored", timeout_s=60, poll_s=0.2)


@pytest.mark.parametrize("part", ["store", "kafka"])
def test_engine_whose_port_another_program_took_waits_for_it(up: Up, part: str) -> None:
    before = read_run(run_file(up.data, part))
    assert before
    port = int(before.address.rpartition(":")[2])
    engine = psutil.Process(before.pid)  # held before it is killed: afterwards it may be gone at once
    engine.kill()
    psutil.wait_procs([engine])
    with socket.create_server(("127.0.0.1", port)):
        problem = f"127.0.0.1:{port}: another program is there now; stop it"
        eventually(lambda: problem in up.stderr, "the port is told")
        if part == "store":
            asked = whipstitch(up.folder, "sql", "SELECT 1")
            assert f"is up to process {up.process.pid} to start; ask again in a moment" in asked.stderr
    eventually(lambda: takes(up, f"Waited_{part}"), "an event is taken")
    eventually(lambda: f"Waited_{part}" in names(up), "the event is stored", poll_s=0.2)
    assert up.address(part) == before.address


def takes(up: Up, name: str) -> bool:
    try:
        send(up, name)
    except OSError:
        return False
    return True


def test_part_that_cannot_start_is_told_and_nothing_is_left_running(tmp_path: Path) -> None:
    failed = whipstitch(tmp_path, "up", "--port", str(free_port()), WHIPSTITCH_JAVA="/no/such/java")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("Error: WHIPSTITCH_JAVA: /no/such/java: ")
    assert failed.stdout == ""
    for part in ("worker", "ingress", "store", "kafka"):
        assert read_run(run_file(tmp_path / ".whipstitch", part)) is None


def test_events_outlast_ctrl_c_a_kill_and_a_second_ctrl_c_and_nothing_is_left_running(tmp_path: Path) -> None:
    port = free_port()
    with ready(tmp_path, port) as up:
        keep_key(up)
        send(up, "One")
        eventually(lambda: names(up) == ["One"], "the event is stored", poll_s=0.1)
        started = psutil.Process(up.process.pid).children(recursive=True)
        up.interrupt()
        assert up.end() == 0, up.stderr
        assert running(started) == []
        assert re.findall(r"(\w+) has stopped", up.stderr) == ["ingress", "worker", "store", "kafka"]
    assert names(up) == ["One"], "the store is started for a question where it does not run"

    with ready(tmp_path, port) as up:
        assert up.stdout == f"ready http://127.0.0.1:{port}\n"
        send(up, "Two")
        started = psutil.Process(up.process.pid).children(recursive=True)
        up.process.kill()
        up.end()

    with ready(tmp_path, port) as up:
        assert running(started) == []
        eventually(lambda: names(up) == ["One", "Two"], "both events are stored", poll_s=0.1)
        started = psutil.Process(up.process.pid).children(recursive=True)
        os.kill(up.pid("worker"), signal.SIGSTOP)
        up.interrupt()
        eventually(lambda: "ingress has stopped" in up.stderr, "it waits for the worker")
        up.interrupt()
        up.end()
        assert running(started) == []
