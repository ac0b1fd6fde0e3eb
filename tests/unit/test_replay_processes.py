"""How a replay judges the end of its worker processes."""

import multiprocessing
import sys

import pytest

from replay import processes
from replay.errors import Interrupted

SPAWN = multiprocessing.get_context("spawn")


def test_worker_that_is_still_exiting_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_END_WITHIN_S", 0.0)
    worker = SPAWN.Process(target=int)
    worker.start()
    processes._check_ended(worker)
    assert worker.exitcode == 0


def test_worker_that_ended_with_a_code_is_told() -> None:
    worker = SPAWN.Process(target=sys.exit, args=(3,))
    worker.start()
    with pytest.raises(Interrupted, match="ended with code 3; what is done is kept"):
        processes._check_ended(worker)
