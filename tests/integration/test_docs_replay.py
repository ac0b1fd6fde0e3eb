"""The repair that the page on replay walks through: each command comes to the output that the page shows."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.settings import as_environ
from tests.fixtures.system import System, running_system
from tests.records import TestRecord, raw_call
from tests.waiting import eventually
from topics.control import Project

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/replay.md"
CREATED_MS = 1_767_225_600_000  # 2026-01-01
MORNING_MS = 1_769_850_000_000  # 2026-01-31T09:00:00Z
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
_REPLAY = re.compile(r"\b[0-9a-f]{8}\b")
_WHIPSTITCH = f'whipstitch() {{ "{sys.executable}" -c "from cli.main import main; main()" "$@"; }}\n'


@pytest.fixture(scope="module")
def repaired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The day that the page is about, as it was stored; a worker runs."""
    with running_system(tmp_path_factory.mktemp("repair")) as system:
        system.set_project(Project("default", CREATED_MS, implicit_links=False))
        with system.worker():
            system.publish(*map(_event, EVENTS))
            eventually(lambda: system.count("events") == len(EVENTS), "the day's events")
            yield system


EVENTS: tuple[dict[str, object], ...] = (
    {"messageId": "1", "event": "Looked"},
    {"messageId": "2", "event": "Signed up", "userId": "ann"},
    {"messageId": "3", "event": "Bought"},
    {"messageId": "4", "event": "Looked", "anonymousId": "a-2"},
)


def _event(fields: dict[str, object]) -> TestRecord:
    at_ms = MORNING_MS + int(str(fields["messageId"])) * 60_000
    return raw_call({"type": "track", "anonymousId": "a-1", **fields}, project_id="default", at_ms=at_ms)


def test_the_repair_comes_to_what_the_page_shows(repaired: System) -> None:
    shown = [each for block in _BLOCK.findall(PAGE.read_text()) for each in commands(block)]
    assert len(shown) > 5
    for command, output in shown:
        assert (command, masked(ran(repaired, command))) == (command, masked(output))


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a block, and what is shown below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def ran(system: System, command: str) -> str:
    environ = {**os.environ, **as_environ(system.settings)}
    done = subprocess.run(["sh", "-c", _WHIPSTITCH + command], env=environ, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def masked(output: str) -> str:
    """A replay's id is another one each time."""
    return _REPLAY.sub("REPLAY", output)
