"""A share of a core: who is held to it, and what is left of it afterwards."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cpu_share import NoShares, held_to

NOBODY = (1 << 22) + 1  # no process has this number


@pytest.fixture
def process() -> "Iterator[subprocess.Popen[bytes]]":
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process


def groups_of(process: "subprocess.Popen[bytes]") -> str:
    return Path(f"/proc/{process.pid}/cgroup").read_text()


def test_process_is_held_until_the_end_only(process: "subprocess.Popen[bytes]") -> None:
    before = groups_of(process)
    try:
        with held_to(0.5, process.pid):
            assert f"whipstitch-bench-{process.pid}" in groups_of(process)
    except NoShares as error:
        pytest.skip(str(error))
    assert groups_of(process) == before


def test_process_that_ends_meanwhile_leaves_nothing(process: "subprocess.Popen[bytes]") -> None:
    try:
        with held_to(0.5, process.pid):
            process.kill()
            process.wait()
    except NoShares as error:
        pytest.skip(str(error))
    assert list(Path("/sys/fs/cgroup").glob(f"**/whipstitch-bench-{process.pid}")) == []


def test_who_cannot_be_held_is_told_with_what_to_do() -> None:
    with pytest.raises(NoShares, match="run it as root where control groups can be made"), held_to(0.5, NOBODY):
        pass
    assert list(Path("/sys/fs/cgroup").glob(f"**/whipstitch-bench-{NOBODY}")) == []
