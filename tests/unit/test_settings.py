"""Settings: where they come from, which one wins, and that everything wrong is told at once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings import Settings, SettingsError, as_environ, load

ABSENT = Path("there-is-no-such.toml")


def toml(folder: Path, text: str) -> Path:
    file = folder / "whipstitch.toml"
    file.write_text(text)
    return file


def test_nothing_given_is_the_embedded_default() -> None:
    settings = load({}, ABSENT)
    assert (settings.kafka, settings.store, settings.port) == ("embedded", "embedded", 8080)


def test_environment_wins_over_file_and_option_wins_over_both(tmp_path: Path) -> None:
    file = toml(tmp_path, "WHIPSTITCH_PORT = 1\nWHIPSTITCH_PARTITIONS = 2\nWHIPSTITCH_HOST = '0.0.0.0'\n")
    settings = load({"WHIPSTITCH_PORT": "3", "WHIPSTITCH_PARTITIONS": "4"}, file, port=5)
    assert (settings.port, settings.partitions, settings.host) == (5, 4, "0.0.0.0")


def test_option_that_was_not_given_changes_nothing() -> None:
    assert load({"WHIPSTITCH_PORT": "3"}, ABSENT, port=None).port == 3


@pytest.mark.parametrize("name", ["WHIPSTITCH_PORT", "whipstitch_port", "port", "PORT"])
def test_file_may_leave_the_prefix_out_and_write_small(tmp_path: Path, name: str) -> None:
    assert load({}, toml(tmp_path, f"{name} = 9000\n")).port == 9000


def test_variables_of_others_are_none_of_our_business() -> None:
    assert load({"PORT": "1", "KAFKA": "x", "PATH": "/bin"}, ABSENT) == load({}, ABSENT)


def test_every_wrong_value_is_told_at_once_by_the_name_that_was_set() -> None:
    with pytest.raises(SettingsError) as raised:
        load({"WHIPSTITCH_PORT": "seven", "WHIPSTITCH_KAFKA": "nowhere", "WHIPSTITCH_KAFAK": "a:1"}, ABSENT)
    assert [line.split(":")[0] for line in sorted(str(raised.value).splitlines())] == [
        "WHIPSTITCH_KAFAK",
        "WHIPSTITCH_KAFKA",
        "WHIPSTITCH_PORT",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "80.5"),
        ("KAFKA", "kafka"),
        ("KAFKA", "kafka:"),
        ("KAFKA", ":9092"),
        ("KAFKA", "a:1,,b:2"),
        ("KAFKA", "a:70000"),
        ("STORE", "postgres://here"),
        ("STORE", "clickhouse://"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("PARTITIONS", "0"),
        ("DEDUPE_WINDOW_S", "59"),
        ("SINK_MAX_WAIT_S", "nan"),
        ("SINK_MAX_WAIT_S", "inf"),
        ("SINK_MAX_WAIT_S", "0"),
    ],
)
def test_value_that_makes_no_sense_is_refused_under_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^WHIPSTITCH_{name}: "):
        load({f"WHIPSTITCH_{name}": value}, ABSENT)


@pytest.mark.parametrize("value", ["embedded", "a:1", "a:1,b:2", "[::1]:9092", "kafka-1.example:9092, kafka-2:9092"])
def test_bootstrap_servers_as_people_write_them_are_taken(value: str) -> None:
    assert load({"WHIPSTITCH_KAFKA": value}, ABSENT).kafka == value.replace(" ", "")


def test_variable_that_is_empty_is_as_good_as_unset() -> None:
    empty = {"WHIPSTITCH_KAFKA": "", "WHIPSTITCH_JAVA": "", "WHIPSTITCH_PORT": ""}
    assert load(empty, ABSENT) == load({}, ABSENT)


def test_name_that_is_in_the_file_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "whipstitch.toml"
    file.write_text("PORT = 1\nWHIPSTITCH_PORT = 2\n")
    with pytest.raises(SettingsError, match="port is there twice"):
        load({}, file)


def test_all_problems_are_told_at_once_those_between_two_settings_too() -> None:
    wrong = {"WHIPSTITCH_PORT": "x", "WHIPSTITCH_MAX_EVENT_BYTES": "4096", "WHIPSTITCH_MAX_BATCH_BYTES": "2048"}
    with pytest.raises(SettingsError) as told:
        load(wrong, ABSENT)
    assert [line.partition(":")[0] for line in str(told.value).splitlines()] == [
        "WHIPSTITCH_PORT",
        "WHIPSTITCH_MAX_BATCH_BYTES",
    ]


def test_sasl_without_credentials_is_refused_and_with_them_is_taken() -> None:
    sasl = {"WHIPSTITCH_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
    with pytest.raises(SettingsError, match="KAFKA_SECURITY_USERNAME"):
        load(sasl, ABSENT)
    credentials = {"WHIPSTITCH_KAFKA_SECURITY_USERNAME": "u", "WHIPSTITCH_KAFKA_SECURITY_PASSWORD": "p"}
    assert load(sasl | credentials, ABSENT).kafka_security_password == "p"


def test_event_limit_above_the_batch_limit_is_refused() -> None:
    with pytest.raises(SettingsError, match="MAX_BATCH_BYTES"):
        load({"WHIPSTITCH_MAX_EVENT_BYTES": "4096", "WHIPSTITCH_MAX_BATCH_BYTES": "2048"}, ABSENT)


@pytest.mark.parametrize("text", ["PORT = ", "PORT", "\x00"])
def test_file_that_is_not_toml_is_named(tmp_path: Path, text: str) -> None:
    file = toml(tmp_path, text)
    with pytest.raises(SettingsError, match=r"whipstitch\.toml"):
        load({}, file)


def test_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    file = toml(tmp_path, "")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"whipstitch\.toml"):
        load({}, file)


def test_passwords_do_not_show_when_settings_are_printed() -> None:
    settings = load(
        {"WHIPSTITCH_KAFKA_SECURITY_PASSWORD": "hush", "WHIPSTITCH_STORE": "clickhouse://u:hush@h:9000/d"}, ABSENT
    )
    assert "hush" not in repr(settings)


@given(
    port=st.integers(1, 65535),
    wait_s=st.floats(0.001, 60),
    data=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
    java=st.none() | st.just(Path("/opt/java")),
)
def test_environment_for_a_child_makes_it_load_equal_settings(
    port: int, wait_s: float, data: str, java: Path | None
) -> None:
    settings = Settings.model_validate({"port": port, "sink_max_wait_s": wait_s, "data": data, "java": java})
    assert load(as_environ(settings), ABSENT) == settings


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
