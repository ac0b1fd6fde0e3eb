"""The worker processes of a replay: started, listened to, and ended together.

Each has some of the partitions. One that fails or is killed ends the others, and what is done is kept. A worker that is
left alone, as the process that made it was killed, ends by itself.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TypeAlias

from broker.errors import BrokerError
from replay.errors import Interrupted, ReplayError
from replay.shadow import open_shadow
from replay.state import Progress, write_progress
from replay.work import Task, work_in_process
from store.errors import StoreError

Told: TypeAlias = Callable[[Mapping[int, Progress]], None]
"""Hears how far each partition is, whenever that has changed."""

_LOOK_EVERY_S = 1.0
_END_WITHIN_S = 10.0


def run(tasks: Sequence[Task], told: Told) -> dict[int, Progress]:
    """Return how far the partitions are once all workers are done. Raises Interrupted where one is not."""
    progress: dict[int, Progress] = {}
    with _started(tasks) as workers:
        open_ = dict(workers)
        while open_:
            for connection in wait([*open_], _LOOK_EVERY_S):
                assert isinstance(connection, Connection)
                said = _said(connection)
                if isinstance(said, list):
                    progress |= {each.partition: each for each in said}
                    told(progress)
                elif said is None:
                    _check_ended(open_.pop(connection))
                else:
                    raise Interrupted(f"{said}; what is done is kept: repeat the command to go on")
    return progress


@contextmanager
def _started(tasks: Sequence[Task]) -> Iterator[dict[Connection, SpawnProcess]]:
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, SpawnProcess] = {}
    try:
        for task in tasks:
            ours, theirs = context.Pipe(duplex=False)
            worker = context.Process(target=_work, args=(task, theirs), daemon=True)
            worker.start()
            theirs.close()
            workers[ours] = worker
        yield workers
    finally:
        for connection, worker in workers.items():
            worker.terminate()
            worker.join(_END_WITHIN_S)
            connection.close()


def _said(connection: Connection) -> list[Progress] | str | None:
    """What a worker says: how far it is, or what went wrong; None once it has ended."""
    try:
        said: list[Progress] | str = connection.recv()
    except EOFError:
        return None
    return said


def _check_ended(worker: SpawnProcess) -> None:
    worker.join()  # it has said all, and only its process is still to go: on a busy machine that takes a while
    if worker.exitcode != 0:
        raise Interrupted(
            f"a worker ended with code {worker.exitcode}; what is done is kept: repeat the command to go on"
        )


def _work(task: Task, connection: Connection) -> None:
    """The whole of a worker process. Ctrl-C is for the one that made it, which then ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    shadow = open_shadow(task.settings.store, task.replay.id)

    def report(progress: list[Progress]) -> None:
        if not task.is_dry:
            write_progress(shadow, progress)
        connection.send(progress)

    try:
        work_in_process(task, report)
    except (ReplayError, StoreError, BrokerError, OSError) as error:
        with suppress(OSError):  # nobody listens any more
            connection.send(str(error))
