"""`doctor`: what it makes of what it finds, and that it shows no password."""

from pathlib import Path

import pytest

from cli import checks
from cli.doctor import tell_settings
from pipeline.settings import Settings, load

ABSENT = Path("there-is-no-such.toml")


def test_settings_tell_their_value_and_where_it_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "whipstitch.toml"
    file.write_text("PARTITIONS = 4\n")
    environ = {"WHIPSTITCH_PORT": "9000"}
    told = {one.name: (one.value, one.source) for one in tell_settings(load(environ, file), environ)}
    assert told["WHIPSTITCH_PORT"] == ("9000", "environment")
    assert told["WHIPSTITCH_PARTITIONS"] == ("4", "whipstitch.toml")
    assert told["WHIPSTITCH_HOST"] == ("127.0.0.1", "default")
    assert len(told) == len(Settings.model_fields)


def test_no_password_is_shown() -> None:
    environ = {
        "WHIPSTITCH_KAFKA_SECURITY_PASSWORD": "hush1",
        "WHIPSTITCH_STORE": "clickhouse://reader:hu/s:h2@host:9000/events",
    }
    told = {one.name: one.value for one in tell_settings(load(environ, ABSENT), environ)}
    assert told["WHIPSTITCH_KAFKA_SECURITY_PASSWORD"] == "…"
    assert told["WHIPSTITCH_STORE"] == "clickhouse://reader:…@host:9000/events"


def test_no_worker_is_told_with_how_to_start_one() -> None:
    check = checks.worker(None)
    assert not check.is_well
    assert "whipstitch worker" in check.says


@pytest.mark.parametrize(("lag", "is_well"), [(0, True), (checks.LARGE_LAG, True), (checks.LARGE_LAG + 1, False)])
def test_large_lag_is_not_well(lag: int, is_well: bool) -> None:
    check = checks.worker({"events.raw": lag, "events.stitched": 0})
    assert check.is_well == is_well
    assert f"events.raw {lag}" in check.says


@pytest.mark.parametrize(("ahead_s", "is_well"), [(0.1, True), (-4.9, True), (60, False), (-86400, False)])
def test_clock_that_is_off_either_way_is_not_well(ahead_s: float, is_well: bool) -> None:
    assert checks.clock("store", ahead_s).is_well == is_well


def test_disk_of_a_folder_that_is_not_there_yet_is_that_of_its_parent(tmp_path: Path) -> None:
    (check,) = checks.disk(tmp_path / "a" / "b")
    assert "GiB free" in check.says


def test_every_check_of_a_world_where_nothing_runs_says_what_to_do(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data": tmp_path, "port": 1})
    found = [*checks.kafka(settings), *checks.store(settings), *checks.ingress(settings)]
    assert [check.name for check in found] == ["kafka", "store", "ingress"]
    assert all(not check.is_well and "whipstitch" in check.says for check in found)
