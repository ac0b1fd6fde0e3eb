"""The remembered ids of one partition on disk: files of ids that never change, and a checkpoint that names them.

A file of ids is the columns of one `IdSlice`, little-endian, and is named by the hash of its bytes. The file
`checkpoint` says for which window and up to which position of `events.stitched` the named files hold; its first line is
the hash of the rest. Both come into being under another name and are moved into place whole, so that a crash at any
moment leaves the checkpoint before or the one after. Nothing is forced to the disk: what a power cut damages is found
out by its hash, as is any other damage, and then the log has it all.

A folder is for one worker. Two in one replace each other's checkpoints, and cost a reading of the log at worst.
"""

import mmap
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import msgspec
import numpy as np

from pipeline.dedupe_slice import IdSlice, filter_words
from pipeline.receipts import Receipts

FORMAT = 1
CHECKPOINT = "checkpoint"

_IDS, _NEW = ".ids", ".new"
_ROW_BYTES = 24


class DamagedState(Exception):
    """What the folder holds cannot be used; the message says why. Its content has to be made anew from the log."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The remembered ids of all records of `events.stitched` before `position`."""

    slices: list[IdSlice]
    position: int


class _File(msgspec.Struct, frozen=True):
    name: str
    newest_ms: int


class _Checkpoint(msgspec.Struct, frozen=True):
    format: int
    window_ms: int
    position: int
    files: list[_File]


class IdFolder:
    """One partition's folder, for one length of the window."""

    def __init__(self, path: Path, window_ms: int) -> None:
        self.path = path
        self._window_ms = window_ms

    def load(self) -> Saved | None:
        """What was saved last; None where nothing was. Every byte is checked. Raises DamagedState."""
        try:
            content = (self.path / CHECKPOINT).read_bytes()
            checkpoint = self._decoded(content)
            return Saved([self._opened(file) for file in checkpoint.files], checkpoint.position)
        except FileNotFoundError as missing:
            if Path(missing.filename).name == CHECKPOINT:
                return None
            raise DamagedState(f"{missing.filename} is missing") from missing
        except OSError as error:
            raise DamagedState(f"cannot be read: {error}") from error

    def save(self, slices: Sequence[IdSlice], position: int) -> list[IdSlice]:
        """Make this what `load` returns, and return the same slices as they lie on disk now.

        Raises OSError; then the folder holds what it held before, and a retry is safe.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        # Step 1. The ids, in files that nothing names yet.
        saved = [piece if self._holds(piece) else self._written(piece) for piece in slices]
        # Step 2. The checkpoint, which names them and the position at once.
        files = [_File(piece.file or "", piece.newest_ms) for piece in saved]
        self._write(CHECKPOINT, [_encoded(_Checkpoint(FORMAT, self._window_ms, position, files))])
        # Step 3. Only now what is no longer named can go.
        self._remove_but({file.name for file in files})
        return saved

    def _decoded(self, content: bytes) -> _Checkpoint:
        digest, _, body = content.partition(b"\n")
        if digest != _digest([body]).encode():
            raise DamagedState(f"{CHECKPOINT} does not have the checksum that it states")
        try:
            checkpoint = msgspec.json.decode(body, type=_Checkpoint)
        except msgspec.DecodeError as error:
            raise DamagedState(f"{CHECKPOINT} is of another version: {error}") from error
        if checkpoint.format != FORMAT:
            raise DamagedState(f"it has format {checkpoint.format}, and this version reads {FORMAT}")
        if checkpoint.window_ms != self._window_ms:
            raise DamagedState(
                f"it is for a window of {checkpoint.window_ms // 1000} s, not {self._window_ms // 1000} s"
            )
        return checkpoint

    def _opened(self, file: _File) -> IdSlice:
        content = (self.path / file.name).read_bytes()
        if _name([content]) != file.name:
            raise DamagedState(f"{file.name} does not have the checksum that its name states")
        return IdSlice(self._mapped(file.name), file.newest_ms, filter_words(_columns(content)), file.name)

    def _holds(self, piece: IdSlice) -> bool:
        return piece.file is not None and (self.path / piece.file).exists()

    def _written(self, piece: IdSlice) -> IdSlice:
        columns = [
            piece.receipts.high.astype("<u8", copy=False).data,
            piece.receipts.low.astype("<u8", copy=False).data,
            piece.receipts.received_at_ms.astype("<i8", copy=False).data,
        ]
        name = _name(columns)
        self._write(name, columns)
        return replace(piece, receipts=self._mapped(name), file=name)

    def _mapped(self, name: str) -> Receipts:
        with (self.path / name).open("rb") as file:
            return _columns(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def _write(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        new = self.path / f"{name}{_NEW}"
        with new.open("wb") as file:
            file.writelines(parts)
        os.replace(new, self.path / name)

    def _remove_but(self, named: set[str]) -> None:
        for path in self.path.iterdir():
            if path.suffix in (_IDS, _NEW) and path.name not in named:
                with suppress(OSError):  # it takes room, and no more; the next save tries again
                    path.unlink()


def _columns(content: bytes | mmap.mmap) -> Receipts:
    rows = len(content) // _ROW_BYTES
    high, low = np.frombuffer(content, "<u8", 2 * rows).reshape(2, rows)
    return Receipts(high, low, np.frombuffer(content, "<i8", rows, 16 * rows))


def _encoded(checkpoint: _Checkpoint) -> bytes:
    body = msgspec.json.encode(checkpoint)
    return _digest([body]).encode() + b"\n" + body


def _name(parts: Iterable[bytes | memoryview]) -> str:
    return _digest(parts) + _IDS


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
