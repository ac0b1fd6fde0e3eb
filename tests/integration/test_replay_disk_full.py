"""A disk that is full in the middle of a replay, the replay's own or the store's: it is told, live is as it was, and
once there is room the same command goes on, or `replay abort` leaves nothing."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

import pytest

from broker.control import load_directory
from embedded.process import FolderLock, listening, port_of, wait_ready
from embedded.process import start as start_process
from embedded.store import RunningStore, server_command
from pipeline.settings import as_environ
from replay import state
from replay.errors import Interrupted
from replay.plan import Asked
from replay.run import Ways, abort, replayer
from replay.state import Replay
from store.client import Row
from tests.fixtures.system import System, running_system
from tests.integration.replaying import (
    FROM,
    FROM_MS,
    HOUR_MS,
    TO,
    WITHIN_S,
    begun,
    begun_by,
    history,
    replayed,
    run,
    seen,
    start,
    stored,
    traces,
)
from tests.small_disk import SmallDisk, small_disk
from tests.waiting import eventually
from topics.control import Project


@dataclass(frozen=True)
class Scene:
    """A project whose history is stored, on a disk that can be filled; and what a replay of it comes to."""

    system: System
    disk: SmallDisk
    project: str
    at_once: dict[str, list[Row]]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder, project = tmp_path_factory.mktemp("full"), f"p{uuid4().hex[:8]}"
    with (
        small_disk(folder / "disk", "400m") as disk,
        running_system(folder, store_on(disk, folder / "store.log")) as system,
        pytest.MonkeyPatch.context() as environ,
    ):
        for name, value in as_environ(system.settings).items():
            environ.setenv(name, value)
        system.set_project(Project(project, 0))
        with system.worker():
            system.publish(*history(project))
            asyncio.run(stored(system))
        at_once = replayed(system, start("--project", project), project)
        assert run("abort").exit_code == 0
        yield Scene(system, disk, project, at_once)  # type: ignore[arg-type]


def store_on(disk: SmallDisk, log_file: Path) -> RunningStore:
    with listening() as listener:
        port = port_of(listener)
        argv = [*disk.inside, *server_command(disk.mounted_at / "store", listener)]
        process = start_process("store", argv, log_file, listener=listener)
    url = f"http://127.0.0.1:{port}"
    wait_ready("store", process, log_file, lambda: _answers(port), WITHIN_S)
    return RunningStore(url, process, FolderLock(disk.folder / "lock"), disk.folder / "run")


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture(autouse=True)
def no_replay_is_left(scene: Scene) -> Iterator[None]:
    yield
    for replay_id in state.replay_ids(scene.system.store, scene.system.settings.store):
        abort(scene.system.settings, scene.system.store, replay_id)


@pytest.fixture
def own_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisk]:
    """Where a replay keeps its journals."""
    with small_disk(tmp_path / "own", "4m") as disk:
        monkeypatch.setenv("WHIPSTITCH_DATA", str(disk.folder))
        yield disk


@pytest.mark.long
def test_own_disk_full_in_the_middle_is_told_and_the_rest_is_done_once_there_is_room(
    scene: Scene, own_disk: SmallDisk
) -> None:
    system, project = scene.system, scene.project
    before = seen(system.store, project)
    process = begun(system, "--project", project, "--share", "1")
    own_disk.fill()
    _, said = process.communicate(timeout=WITHIN_S)
    [begun_replay] = state.replays(system.store, system.settings.store)
    assert process.returncode == 1
    told = ".journal: cannot be written: No space left on device; make room there; what is done is kept: repeat the"
    assert told in said.decode()
    assert "Traceback" not in said.decode()
    assert seen(system.store, project) == before
    own_disk.empty()
    done = start("--project", project)
    assert done["replay"] == begun_replay.id
    assert replayed(system, done, project) == scene.at_once
    assert run("abort").exit_code == 0
    assert list(own_disk.folder.iterdir()) == []


def test_own_disk_full_at_the_start_is_told_and_nothing_is_made(scene: Scene, own_disk: SmallDisk) -> None:
    before = traces(scene.system)
    own_disk.fill()
    refused = run("start", "--from", FROM, "--to", TO, "--project", scene.project)
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "has 0 MB left, and a replay may need 1 MB; free some disk space there" in refused.stderr
    assert traces(scene.system) == before
    assert [path.name for path in own_disk.folder.iterdir()] == ["ballast"]


def test_stores_disk_full_in_the_middle_is_told_and_the_rest_is_done_once_there_is_room(scene: Scene) -> None:
    system, project = scene.system, scene.project
    before, left = seen(system.store, project), traces(system)

    def gives_up(starting: Future[Replay]) -> bool:
        scene.disk.fill()
        return starting.done()

    with _starting(scene) as starting:
        eventually(lambda: begun_by(system) is not None or starting.done(), "some done", WITHIN_S, 0.02)
        eventually(lambda: gives_up(starting), "the replay gives up", WITHIN_S, 0.02)
        with pytest.raises(Interrupted, match=r"answered with code \d+: .*what is done is kept: repeat the command"):
            starting.result()
    refused = run("status")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "disk is full: free some" in refused.stderr
    scene.disk.empty()
    assert seen(system.store, project) == before
    [begun_replay] = state.replays(system.store, system.settings.store)
    done = start("--project", project)
    assert done["replay"] == begun_replay.id
    assert replayed(system, done, project) == scene.at_once
    assert run("abort").exit_code == 0
    assert traces(system) == left


@contextmanager
def _starting(scene: Scene) -> Iterator[Future[Replay]]:
    """A slow replay that does not wait long for the store."""
    directory = asyncio.run(load_directory(scene.system.settings))
    running = replayer(scene.system.settings, directory, _silently)
    asked = Asked(FROM_MS, FROM_MS + 2 * HOUR_MS, scene.project)
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(running.start, asked, Ways(share=3, patience_s=1.0))


@contextmanager
def _silently(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    yield lambda more: None
