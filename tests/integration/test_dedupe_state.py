"""The dedupe state of a real worker: over restarts, on a folder that went bad, on another Kafka, on another worker."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from broker.log import LogReader
from pipeline.dedupe_folder import CHECKPOINT
from tests.fixtures.system import System, running_system
from tests.integration.test_worker import stored, track
from tests.waiting import eventually
from topics.names import STITCHED
from topics.stitched import decode_receipt

FOLDER = Path("dedupe", "w1")
COUNT = 40
PARTITIONS = 4


@pytest.fixture
def project() -> str:
    return f"p{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("system"), partitions=PARTITIONS) as running:
        yield running


def publish(system: System, project: str, *kinds: str) -> None:
    system.publish(*(track(project, f"{kind}{n}", f"A{n % 9}", n) for kind in kinds for n in range(COUNT)))


def assert_stitched_once(system: System, project: str, *kinds: str) -> None:
    expected = {f"{kind}{n}" for kind in kinds for n in range(COUNT)}
    eventually(lambda: stored(system, project) == expected, "every event")
    assert sorted(asyncio.run(stitched_ids(system, project))) == sorted(expected)


async def stitched_ids(system: System, project: str) -> list[str]:
    log = LogReader(system.settings)
    await log.start()
    try:
        records = [
            decode_receipt(record.value or b"")
            for partition in range(PARTITIONS)
            async for read in log.read(STITCHED, partition, 0)
            for record in read
        ]
    finally:
        await log.stop()
    return [receipt.message_id for receipt in records if receipt.project_id == project]


def assert_repeats_are_told(system: System, project: str) -> None:
    with system.worker():
        publish(system, project, "a", "b")
        assert_stitched_once(system, project, "a", "b")


def _nothing(folder: Path) -> None:
    pass


def _delete(folder: Path) -> None:
    shutil.rmtree(folder)


def _damage_ids(folder: Path) -> None:
    for file in folder.glob("*/*.ids"):
        file.write_bytes(file.read_bytes()[:-1])


def _damage_checkpoints(folder: Path) -> None:
    for file in folder.glob(f"*/{CHECKPOINT}"):
        file.write_bytes(b"\0")


@pytest.mark.parametrize(
    "harm",
    [_delete, *(pytest.param(harm, marks=pytest.mark.long) for harm in (_nothing, _damage_ids, _damage_checkpoints))],
)
def test_repeats_are_told_after_a_restart_whatever_happened_to_the_folder(
    system: System, project: str, harm: Callable[[Path], None]
) -> None:
    with system.worker():
        publish(system, project, "a")
        assert_stitched_once(system, project, "a")
    assert list((system.folder / FOLDER).glob(f"*/{CHECKPOINT}"))
    harm(system.folder / FOLDER)
    assert_repeats_are_told(system, project)


@pytest.mark.long
def test_repeats_are_told_after_a_kill(system: System, project: str) -> None:
    with system.worker() as worker:
        publish(system, project, "a")
        assert_stitched_once(system, project, "a")
        worker.kill()
        worker.wait()
    assert_repeats_are_told(system, project)


def test_state_that_is_behind_is_brought_up_to_the_log(system: System, project: str) -> None:
    with system.worker():
        publish(system, project, "a")
        assert_stitched_once(system, project, "a")
    shutil.copytree(system.folder / FOLDER, system.folder / "old")
    with system.worker():
        publish(system, project, "b")
        assert_stitched_once(system, project, "a", "b")
    shutil.rmtree(system.folder / FOLDER)
    (system.folder / "old").rename(system.folder / FOLDER)
    assert_repeats_are_told(system, project)


def test_a_partition_that_moves_away_and_comes_back_keeps_its_window(system: System, project: str) -> None:
    with system.worker():
        publish(system, project, "a")
        assert_stitched_once(system, project, "a")
    with system.worker(worker_id="w2"):
        publish(system, project, "a", "b")
        assert_stitched_once(system, project, "a", "b")
    assert_repeats_are_told(system, project)


def test_state_of_another_kafka_is_not_believed(system: System, project: str, tmp_path: Path) -> None:
    with system.worker():
        publish(system, project, "a")
        assert_stitched_once(system, project, "a")
    with running_system(tmp_path, partitions=PARTITIONS) as other:
        shutil.copytree(system.folder / FOLDER, other.folder / FOLDER)
        with other.worker():
            publish(other, project, "a")
            assert_stitched_once(other, project, "a")
