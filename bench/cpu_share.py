"""Holds a process to a share of a core, as Linux's control groups do: so that several have CPU to spare beside each
other, and beside Kafka and the store, on a machine of few cores."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

# Of the first version of control groups, which has a tree for each resource, and of the second. The top of a tree is
# the one place where a group can always be made beside processes.
_CPU_TREE: Final = Path("/sys/fs/cgroup/cpu")
_TREE: Final = Path("/sys/fs/cgroup")
# A tenth of the usual: a worker that has used its share stands still for milliseconds, as if its core were slower.
_PERIOD_US: Final = 10_000


class NoShares(Exception):
    """The message says what is missing."""


@contextmanager
def held_to(cores: float, process_id: int) -> Iterator[None]:
    """The process with all its threads gets `cores` of CPU time at most, until the end. Raises NoShares."""
    tree = _CPU_TREE if (_CPU_TREE / "cpu.cfs_quota_us").exists() else _TREE
    group, quota_us = tree / f"whipstitch-bench-{process_id}", round(cores * _PERIOD_US)
    limits = (
        {"cpu.cfs_period_us": str(_PERIOD_US), "cpu.cfs_quota_us": str(quota_us)}
        if tree is _CPU_TREE
        else {"cpu.max": f"{quota_us} {_PERIOD_US}"}
    )
    try:
        group.mkdir()
        for name, limit in limits.items():
            (group / name).write_text(limit)
        _move(process_id, group)
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        raise NoShares(f"{tree}: {error.strerror}; run it as root where control groups can be made") from error
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            _move(process_id, tree)
        group.rmdir()


def _move(process_id: int, group: Path) -> None:
    (group / "cgroup.procs").write_text(str(process_id))
