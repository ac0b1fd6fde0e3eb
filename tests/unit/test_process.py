"""Child processes for real: locks, ports, start, stop, and who is still running."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from embedded import process
from embedded.errors import EmbeddedError
from tests.waiting import eventually

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


@contextmanager
def python(code: str, log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A started child that has said "up"."""
    child = process.start("child", [sys.executable, "-c", code], log_file)
    try:
        eventually(lambda: "up" in log_file.read_text(), "the child is up")
        yield child
    finally:
        process.stop(child, timeout_s=0)


def test_the_preferred_port_is_kept_while_it_is_free() -> None:
    port = process.free_port()
    assert process.free_port(port) == port
    with socket.create_server((process.HOST, port)):
        assert process.free_port(port) != port
        with pytest.raises(EmbeddedError, match=f"127.0.0.1:{port}: another program is there now; stop it"):
            process.free_port(only=port)
    assert process.free_port(only=port) == port


def test_a_locked_folder_is_refused_with_its_holder_and_free_afterwards(tmp_path: Path) -> None:
    with (
        process.FolderLock(tmp_path),
        pytest.raises(EmbeddedError, match=rf"{tmp_path}: in use by process {os.getpid()}; stop it"),
    ):
        process.FolderLock(tmp_path)
    process.FolderLock(tmp_path).release()


def test_a_killed_holder_frees_the_folder(tmp_path: Path) -> None:
    code = f"import pathlib, embedded.process as p; lock = p.FolderLock(pathlib.Path({str(tmp_path)!r})); {SLEEP}"
    with python(code, tmp_path / "log") as holder:
        with pytest.raises(EmbeddedError, match=f"in use by process {holder.pid}"):
            process.FolderLock(tmp_path)
        holder.kill()
        holder.wait()
    process.FolderLock(tmp_path).release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=f"{tmp_path}/file/data: .*choose a folder that you may write"):
        process.FolderLock(tmp_path / "file" / "data")


def test_a_child_is_stopped_in_order_and_a_stubborn_one_is_killed(tmp_path: Path) -> None:
    with python(SLEEP, tmp_path / "polite") as polite:
        assert process.stop(polite, timeout_s=20)
    with python(STUBBORN, tmp_path / "stubborn") as stubborn:
        assert not process.stop(stubborn, timeout_s=0.1)
    assert process.stop(polite, timeout_s=1), "stopping what has gone is no error"


def test_a_child_is_out_of_reach_of_the_terminals_interrupt(tmp_path: Path) -> None:
    with python(SLEEP, tmp_path / "log") as child:
        assert os.getsid(child.pid) == child.pid != os.getsid(0)


def test_a_child_gets_the_signals_that_python_ignores_as_it_would_from_a_shell(tmp_path: Path) -> None:
    with python(f"print(open('/proc/self/status').read()); {SLEEP}", tmp_path / "log"):
        pass
    ignored = next(line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("SigIgn"))
    # Python ignores SIGPIPE (13) and SIGXFSZ (25) for itself, so of those the child's own are to be expected.
    # Above 31 are the real-time signals, of which some makes leave two ignored.
    assert int(ignored.split()[1], 16) & 0x7FFF_FFFF & ~(1 << 12 | 1 << 24) == 0


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="part: /no/such: no such program"):
        process.start("part", ["/no/such"], tmp_path / "log")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_child_ends_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, embedded.process as p\n"
        f"child = p.start('child', [sys.executable, '-c', {SLEEP!r}], pathlib.Path({str(tmp_path / 'inner')!r}))\n"
        f"print(child.pid, flush=True); {SLEEP}"
    )
    with python(code, tmp_path / "outer") as parent:
        child = psutil.Process(int((tmp_path / "outer").read_text().split()[0]))
        parent.kill()
        parent.wait()
    eventually(lambda: not child.is_running(), "the child ends")


def test_a_child_that_ends_while_it_starts_is_told_with_its_last_words(tmp_path: Path) -> None:
    log_file = tmp_path / "log"
    child = process.start("part", [sys.executable, "-c", "print('no disk'); exit(3)"], log_file)
    with pytest.raises(
        process.EndedWhileStarting, match=rf"part: ended with code 3 .*{log_file}, and ends:\n  no disk"
    ):
        process.wait_ready("part", child, log_file, lambda: False, timeout_s=20)


def test_a_child_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    with python(SLEEP, tmp_path / "log") as child:
        with pytest.raises(EmbeddedError, match=r"part: not ready after 0\.1 s"):
            process.wait_ready("part", child, tmp_path / "log", lambda: False, timeout_s=0.1)
        assert child.poll() is not None


def test_last_lines_leave_out_the_frames_of_a_stack_trace(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("FATAL it broke\n\tat a.B.c(B.java:1)\n\t... 9 more\nCaused by: rust\n")
    assert process.last_lines(tmp_path / "log") == "  FATAL it broke\n  Caused by: rust"
    assert process.last_lines(tmp_path / "absent") == "  (nothing)"


def test_a_log_that_grew_large_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    log_file = tmp_path / "part.log"
    log_file.write_bytes(b"x" * (process.LARGEST_LOG_BYTES + 1))
    with python(SLEEP, log_file):
        assert (tmp_path / "part.old.log").stat().st_size == process.LARGEST_LOG_BYTES + 1
    assert log_file.stat().st_size < 100


def test_a_run_is_read_back_while_its_process_lives_and_not_after(tmp_path: Path) -> None:
    file = process.run_file(tmp_path, "part")
    with python(SLEEP, tmp_path / "log") as child:
        process.write_run(file, child.pid, "127.0.0.1:9")
        run = process.read_run(file)
        assert run is not None
        assert (run.pid, run.address) == (child.pid, "127.0.0.1:9")
    assert process.read_run(file) is None
    assert process.last_address(file) == "127.0.0.1:9"


def test_a_pid_that_went_to_another_process_is_not_taken_for_the_part(tmp_path: Path) -> None:
    file = process.run_file(tmp_path, "part")
    process.write_run(file, os.getpid(), "127.0.0.1:9")
    started_at_s = psutil.Process().create_time()
    file.write_text(file.read_text().replace(str(started_at_s), str(started_at_s - 3600)))
    assert process.read_run(file) is None
    assert not process.stop_orphan(file, timeout_s=0)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"pid": "x", "started_at_s": 0, "address": 1}'])
def test_a_run_file_that_makes_no_sense_is_no_run(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    assert process.read_run(tmp_path / "run.json") is None
    assert process.read_run(tmp_path / "absent.json") is None


@pytest.mark.parametrize("code", [SLEEP, STUBBORN])
def test_an_orphan_is_stopped(code: str, tmp_path: Path) -> None:
    file = process.run_file(tmp_path, "part")
    with python(code, tmp_path / "log") as orphan:
        process.write_run(file, orphan.pid, "127.0.0.1:9")
        assert process.stop_orphan(file, timeout_s=0.5)
        assert not psutil.pid_exists(orphan.pid) or orphan.poll() is not None
    assert not process.stop_orphan(file, timeout_s=0)
