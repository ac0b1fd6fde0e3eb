"""What is known of an id after a restart, and after every way in which the folder can go bad."""

import logging
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedupe import SLACK_S, SeenIds, seen_id
from pipeline.dedupe_folder import CHECKPOINT
from pipeline.receipts import Receipts
from tests.unit.test_dedupe import PlainSeenIds, is_known, numbered

WINDOW_S = 100.0
NOW_S = 1_790_000_000.0
IDS = numbered(*range(10))
LATER_IDS = numbered(*range(10, 20))

Log = list[tuple[bytes, float]]


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with the ten ids, as of position 10."""
    folder = tmp_path / "dedupe" / "3"
    opened(folder, 10, IDS).checkpoint()
    return folder


def opened(folder: Path, position: int, ids: list[bytes]) -> SeenIds:
    seen = SeenIds(WINDOW_S, folder)
    seen.remember_all(received(ids))
    seen.position = position
    return seen


def received(ids: list[bytes], at_s: float = NOW_S) -> Receipts:
    return Receipts.of(ids, [at_s] * len(ids))


def known(seen: SeenIds, ids: list[bytes], at_s: float = NOW_S) -> list[bool]:
    return is_known(seen, ids, [at_s] * len(ids))


def caught_up(folder: Path, window_s: float, seal_at: int, log: Log) -> SeenIds:
    """As at an assignment: what the log holds beyond the checkpoint is applied."""
    seen = SeenIds(window_s, folder, seal_at=seal_at)
    missing = log[seen.position or 0 :]
    seen.position = seen.position or 0
    seen.remember_all(Receipts.of([this_id for this_id, _ in missing], [at for _, at in missing]))
    seen.position = len(log)
    return seen


def test_an_empty_folder_is_a_beginning_and_no_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen = SeenIds(WINDOW_S, tmp_path / "none")
    assert (seen.position, len(seen), caplog.records) == (None, 0, [])


def test_a_restart_begins_with_what_was_saved_and_where(saved: Path) -> None:
    seen = SeenIds(WINDOW_S, saved)
    assert (seen.position, len(seen)) == (10, 10)
    assert all(known(seen, IDS))
    assert not any(known(seen, LATER_IDS))


def test_the_window_ends_to_the_millisecond_after_a_restart(saved: Path) -> None:
    seen = SeenIds(WINDOW_S, saved)
    assert all(known(seen, IDS, NOW_S + 99.999))
    assert not any(known(seen, IDS, NOW_S + 100.0))


def test_what_was_not_saved_is_not_there_after_a_restart(saved: Path) -> None:
    opened(saved, 20, LATER_IDS)
    seen = SeenIds(WINDOW_S, saved)
    assert (seen.position, any(known(seen, LATER_IDS))) == (10, False)


def test_a_full_table_is_a_checkpoint_at_the_position_before(tmp_path: Path) -> None:
    seen = SeenIds(WINDOW_S, tmp_path, seal_at=10)
    seen.position = 7
    seen.remember_new(received(IDS))
    seen.position = 17
    again = SeenIds(WINDOW_S, tmp_path)
    assert (again.position, all(known(again, IDS))) == (7, True)


def test_taking_the_log_in_again_changes_nothing(saved: Path) -> None:
    seen = SeenIds(WINDOW_S, saved)
    seen.remember_all(received(IDS))
    assert len(seen) == 10


def test_without_a_position_nothing_is_saved(tmp_path: Path) -> None:
    seen = SeenIds(WINDOW_S, tmp_path)
    seen.remember_all(received(IDS))
    seen.checkpoint()
    assert list(tmp_path.iterdir()) == []
    assert all(known(seen, IDS))


def test_state_of_another_log_is_forgotten_and_replaced(saved: Path) -> None:
    seen = SeenIds(WINDOW_S, saved)
    seen.forget()
    assert (seen.position, any(known(seen, IDS))) == (None, False)
    seen.position = 0
    seen.checkpoint()
    assert [file.name for file in saved.iterdir()] == [CHECKPOINT]


def test_only_files_that_count_are_left_and_few_of_them(tmp_path: Path) -> None:
    (tmp_path / f"{'0' * 32}.ids").write_bytes(b"of a crash")
    (tmp_path / f"{'1' * 32}.ids.new").write_bytes(b"of a crash")
    seen = SeenIds(86_400.0, tmp_path, seal_at=2)
    seen.position = 0
    for n in range(500):
        seen.remember_new(received(numbered(2 * n, 2 * n + 1), NOW_S + n))
    assert len(list(tmp_path.iterdir())) < 40
    assert sum(file.stat().st_size for file in tmp_path.glob("*.ids")) == 24 * 1000


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _lengthen(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0" * 24)


def _overwrite(file: Path) -> None:
    file.write_bytes(os.urandom(240))


def _make_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGE: list[Callable[[Path], None]] = [_flip, _cut, _empty, _lengthen, _overwrite, Path.unlink]


@pytest.mark.parametrize("damage", [*DAMAGE, _make_a_folder])
def test_damaged_ids_are_noticed_and_told(
    saved: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    [file] = saved.glob("*.ids")
    damage(file)
    assert_begins_anew(saved)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert file.name in caplog.text
    assert "it is read back from the log" in caplog.text


@pytest.mark.parametrize("damage", [*DAMAGE[:-1], _make_a_folder])
def test_a_damaged_checkpoint_is_noticed_and_told(
    saved: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(saved / CHECKPOINT)
    assert_begins_anew(saved)
    assert str(saved) in caplog.text


def test_any_changed_byte_of_a_checkpoint_is_noticed(saved: Path) -> None:
    content = (saved / CHECKPOINT).read_bytes()
    for at in range(len(content)):
        (saved / CHECKPOINT).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert_begins_anew(saved)


@pytest.mark.parametrize("gone", [CHECKPOINT, ""])
def test_a_deleted_checkpoint_or_folder_is_a_beginning(saved: Path, gone: str) -> None:
    shutil.rmtree(saved) if not gone else (saved / gone).unlink()
    assert_begins_anew(saved)


def test_state_for_another_window_is_not_used(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert SeenIds(WINDOW_S + 1, saved).position is None
    assert "window of 100 s, not 101 s" in caplog.text


def test_state_of_another_format_is_not_used(
    saved: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pipeline.dedupe_folder.FORMAT", 2)
    assert SeenIds(WINDOW_S, saved).position is None
    assert "format 1, and this version reads 2" in caplog.text


def test_damaged_state_is_replaced_by_what_the_log_gives(saved: Path) -> None:
    _flip(saved / CHECKPOINT)
    opened(saved, 20, LATER_IDS).checkpoint()
    seen = SeenIds(WINDOW_S, saved)
    assert (seen.position, len(seen), all(known(seen, LATER_IDS))) == (20, 10, True)


def test_a_disk_that_fails_is_told_and_memory_serves_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    seen = opened(tmp_path / "file" / "3", 10, IDS)
    caplog.clear()
    seen.checkpoint()
    assert "not saved" in caplog.text
    assert all(known(seen, IDS))


def test_what_could_not_be_saved_is_saved_at_the_next_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "3").write_bytes(b"")
    seen = opened(tmp_path / "3", 10, IDS)
    seen.checkpoint()
    (tmp_path / "3").unlink()
    seen.checkpoint()
    assert all(known(SeenIds(WINDOW_S, tmp_path / "3"), IDS))


def test_files_that_go_while_they_are_in_use_are_written_again(saved: Path) -> None:
    seen = SeenIds(WINDOW_S, saved)
    shutil.rmtree(saved)
    assert all(known(seen, IDS))
    seen.checkpoint()
    assert all(known(SeenIds(WINDOW_S, saved), IDS))


def test_of_two_workers_in_one_folder_the_last_to_save_is_read_back(saved: Path) -> None:
    one, other = SeenIds(WINDOW_S, saved), SeenIds(WINDOW_S, saved)
    one.remember_all(received(LATER_IDS))
    one.checkpoint()
    other.remember_all(received(numbered(30)))
    other.checkpoint()
    assert known(SeenIds(WINDOW_S, saved), [*LATER_IDS, *numbered(30)]) == [False] * 10 + [True]
    one.checkpoint()
    assert all(known(one, IDS + LATER_IDS))
    assert all(known(other, IDS + numbered(30)))
    assert all(known(SeenIds(WINDOW_S, saved), IDS + LATER_IDS))


@pytest.mark.parametrize("steps", range(6))
def test_a_crash_between_any_steps_leaves_the_checkpoint_before_or_the_one_after(
    saved: Path, monkeypatch: pytest.MonkeyPatch, steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    seen = opened_with_joins(saved)
    before = len(SeenIds(WINDOW_S, saved))
    with monkeypatch.context() as patched:
        crash_after(steps, patched)
        try:
            seen.checkpoint()
            crashed = False
        except Crash:
            crashed = True
    again = SeenIds(WINDOW_S, saved)
    assert (again.position, len(again)) in ((10, before), (20, before + 10))
    assert (crashed, again.position) in ((True, 10), (True, 20), (False, 20))
    assert all(known(again, IDS))
    assert all(known(again, LATER_IDS)) == (again.position == 20)
    assert caplog.records == []
    again.checkpoint()
    assert len(list(saved.glob("*.ids*"))) == (1 if again.position == 20 else 7)


def opened_with_joins(folder: Path) -> SeenIds:
    """Seven slices on disk; the next makes one file of them all, and seven to be removed."""
    seen = SeenIds(WINDOW_S, folder)
    for n in range(100, 160, 10):
        seen.remember_all(received(numbered(*range(n, n + 10))))
        seen.checkpoint()
    seen.remember_all(received(LATER_IDS))
    seen.position = 20
    return seen


def crash_after(steps: int, patched: pytest.MonkeyPatch) -> None:
    left = iter(range(steps))

    def counted(change: Callable[..., None]) -> Callable[..., None]:
        def changed(*arguments: object, **named: object) -> None:
            if next(left, None) is None:
                raise Crash
            change(*arguments, **named)

        return changed

    patched.setattr(os, "replace", counted(os.replace))
    patched.setattr(Path, "unlink", counted(Path.unlink))


@given(
    seed=st.integers(0, 2**32),
    window_s=st.sampled_from([7.5, 3600.0, 86_400.0]),
    seal_at=st.sampled_from([5, 40]),
)
@settings(max_examples=25, deadline=None)
def test_any_batches_restarts_and_damage_get_the_answers_of_a_plain_dict(
    seed: int, window_s: float, seal_at: int
) -> None:
    picks, plain, log, now_s = random.Random(seed), PlainSeenIds(window_s), Log(), NOW_S
    with TemporaryDirectory() as name:
        folder = Path(name)
        seen = caught_up(folder, window_s, seal_at, log)
        for _ in range(60):
            now_s += picks.choice([0.001, 1.0, window_s / 8, window_s])
            ids = list(dict.fromkeys(numbered(*(picks.randrange(300) for _ in range(picks.randrange(30))))))
            received_at = [round(now_s - picks.choice([0.0, SLACK_S * picks.random()]), 3) for _ in ids]
            answers = is_known(seen, ids, received_at)
            assert answers == list(map(plain.has, ids, received_at))
            new = [
                pair for pair, is_there in zip(zip(ids, received_at, strict=True), answers, strict=True) if not is_there
            ]
            seen.remember_new(Receipts.of([this_id for this_id, _ in new], [at for _, at in new]))
            log += new
            seen.position = len(log)
            for this_id, at in new:
                plain.remember(this_id, at)
            if picks.random() < 0.2:
                if picks.random() < 0.3:
                    seen.checkpoint()
                if picks.random() < 0.3:
                    for file in picks.sample(sorted(folder.iterdir()), k=1 if any(folder.iterdir()) else 0):
                        picks.choice(DAMAGE)(file)
                seen = caught_up(folder, window_s, seal_at, log)


def assert_begins_anew(folder: Path) -> None:
    seen = SeenIds(WINDOW_S, folder)
    assert (seen.position, len(seen), any(known(seen, IDS))) == (None, 0, False)


def test_ids_of_a_project_are_those_that_were_saved(saved: Path) -> None:
    assert not SeenIds(WINDOW_S, saved).has(seen_id("q", "1"), NOW_S)
