"""The journal of a replay's partition gives back what was noted, and no more than is whole."""

from pathlib import Path

import pytest

from pipeline.receipts import Receipts
from replay.journal import Frame, Journal

RECEIPTS = Receipts.of([b"a" * 16, b"b" * 16], [1_790_000_000.001, 0.5])
FRAMES = [
    Frame.of(10, RECEIPTS, {b"p|a:A": b"[]", b"p|a:B": None}, {"events": 2}),
    Frame.of(20, Receipts.blank(0), {}, {"events": 2}),
    Frame.of(35, Receipts.of([b"c" * 16], [3.25]), {}, {"events": 3}),
]


def frames(path: Path) -> list[Frame]:
    journal = Journal(path)
    found = list(journal.frames())
    journal.close()
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "0.journal")
    for frame in FRAMES:
        journal.append(frame)
    journal.close()
    return tmp_path / "0.journal"


def test_frames_come_back_as_they_were_noted(path: Path) -> None:
    assert frames(path) == FRAMES
    assert FRAMES[0].claimed() == RECEIPTS


def test_new_journal_has_no_frames(tmp_path: Path) -> None:
    assert frames(tmp_path / "1.journal") == []


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_torn_frame_is_left_out_and_can_be_followed(path: Path, cut: int) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - cut)
    journal = Journal(path)
    assert list(journal.frames()) == FRAMES[:2]
    journal.append(FRAMES[2])
    journal.close()
    assert frames(path) == FRAMES


def test_damaged_frame_ends_the_journal(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[30] ^= 1
    path.write_bytes(content)
    assert frames(path) == []
