"""A small disk in memory, which a test may fill to the last byte. It needs no rights where user namespaces are allowed.

The disk is mounted in a mount namespace of a process that does nothing else, and reached from outside through /proc.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_HOLD = 'mount -t tmpfs -o size="$1" tmpfs "$2" && echo mounted && exec cat'
_BALLAST = "ballast"


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """`folder` is where anybody finds it; in processes that are begun with `inside` it is `mounted_at`."""

    folder: Path
    mounted_at: Path
    inside: tuple[str, ...]

    def fill(self) -> None:
        """Leave no byte. What others delete meanwhile is theirs again: to fill once more is harmless."""
        for size in (1 << 20, 1 << 12):
            with (self.folder / _BALLAST).open("ab", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(size))

    def empty(self) -> None:
        (self.folder / _BALLAST).unlink()


@contextmanager
def small_disk(mounted_at: Path, size: str) -> Iterator[SmallDisk]:
    """`size` as tmpfs is told it, as `64m`. Skips the test where no disk can be made."""
    command = ["unshare", "--map-root-user", "--mount", "--", "sh", "-c", _HOLD, "sh", size, str(mounted_at)]
    mounted_at.mkdir()
    try:
        holding = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        pytest.skip("no small disk can be made here: there is no `unshare`")
    assert holding.stdout is not None
    with holding:
        if holding.stdout.readline() != b"mounted\n":
            pytest.skip(f"no small disk can be made here: {holding.communicate()[1].decode().strip()}")
        try:
            inside = ("nsenter", "--target", str(holding.pid), "--user", "--mount", "--preserve-credentials", "--")
            yield SmallDisk(Path(f"/proc/{holding.pid}/root{mounted_at}"), mounted_at, inside)
        finally:
            holding.terminate()
