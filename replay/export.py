"""Writes what was received in a range as lines, plain or packed with zstd, for a replay elsewhere or later.

Records are in order within each partition. A file is there whole or not at all.
"""

import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import cramjam

from broker.scan import Offsets, Scanner, scanner
from pipeline.settings import Settings
from replay.export_line import ZSTD_SUFFIX, line_of
from replay.plan import SLACK_MS
from replay.scope import Scope, Where
from topics.names import RAW

Write: TypeAlias = Callable[[bytes], object]
Sized: TypeAlias = Callable[[int], Callable[[int], None]]
"""Told how many records are to be read, gives what hears how many more are."""

_ZSTD_LEVEL: Final = 3
_NEW: Final = ".new"


async def export(settings: Settings, scope: Scope, write: Write, sized: Sized) -> int:
    """Hand out the lines of a range, some at once; how many they were. Raises BrokerError."""
    count = 0
    async with scanner(settings) as scan:
        starts, ends = await _offsets(scan, scope)
        advance = sized(sum(ends[p] - start for p, start in starts.items()))
        async with aclosing(_lines(scan, scope, starts, ends, advance)) as pieces:
            async for lines in pieces:
                count += len(lines)
                if lines:
                    write(b"\n".join(lines) + b"\n")
    return count


@contextmanager
def written(path: Path) -> Iterator[Write]:
    """Writes to a file, packed where its name ends with `.zst`: each piece is a frame of its own, which any zstd
    reads as one file. Raises OSError."""
    new = path.with_name(path.name + _NEW)
    try:
        with new.open("wb") as file:
            yield _packed(file) if path.suffix == ZSTD_SUFFIX else file.write
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def _packed(file: BinaryIO) -> Write:
    return lambda piece: file.write(bytes(cramjam.zstd.compress(piece, _ZSTD_LEVEL)))


async def _offsets(scan: Scanner, scope: Scope) -> tuple[Offsets, Offsets]:
    starts = await scan.offsets_at(RAW, scope.from_ms - SLACK_MS)
    ends = await scan.offsets_at(RAW, scope.to_ms + SLACK_MS)
    return starts, {p: max(end, starts[p]) for p, end in ends.items()}


async def _lines(
    scan: Scanner, scope: Scope, starts: Offsets, ends: Offsets, advance: Callable[[int], None]
) -> AsyncGenerator[list[bytes], None]:
    async for records in scan.read(RAW, starts, ends):
        yield [line_of(record) for record in records if scope.where(record) is Where.WITHIN]
        advance(len(records))
