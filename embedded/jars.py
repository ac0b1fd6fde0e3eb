"""Kafka's jars: fetched once into a cache folder, and only ever used when each is the one of the lock file.

Arrives: the committed lock file (names, versions, SHA-256). Leaves: paths of jars. Guarantees: every jar is hashed
whole at every start (46 jars, 45 MB, 45 ms measured with SHA instructions), so a changed or truncated jar is noticed
and fetched anew; a jar gets its place in the cache only after its checksum was right, in one step, so that neither
a crash nor a second fetch at the same time can leave half of one.
"""

import hashlib
import os
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from embedded.errors import EmbeddedError

RESOURCES = Path(__file__).parent / "jars"
LOCK_FILE = RESOURCES / "jgo.lock.toml"
FETCHES_AT_ONCE = 6
ANSWER_WITHIN_S = 30

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Jar:
    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def default_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's cache folder, as the XDG Base Directory Specification has it."""
    home = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "whipstitch"


def locked_jars(lock_file: Path = LOCK_FILE) -> list[Jar]:
    """The jars in the order of the class path."""
    locked = tomllib.loads(lock_file.read_text())["dependencies"]
    return [Jar(one["groupId"], one["artifactId"], one["version"], one["sha256"]) for one in locked]


def jars_in(cache: Path, progress: Progress, jars: Sequence[Jar] | None = None) -> list[Path]:
    """The jars (those of the lock file) as files of the cache, the missing and the wrong ones fetched first.

    Raises EmbeddedError where that cannot be; what was fetched until then is kept, so that another try goes on.
    """
    jars = locked_jars() if jars is None else jars
    folder = _writable(cache / "jars")
    wrong = [jar for jar in jars if _sha256(folder / jar.name) != jar.sha256]
    if wrong:
        _fetch(wrong, folder, progress)
    return [folder / jar.name for jar in jars]


def _writable(folder: Path) -> Path:
    if os.pathsep in str(folder.absolute()):
        raise EmbeddedError(f"{folder}: Java cannot read jars from a path with {os.pathsep!r}; set WHIPSTITCH_CACHE")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedError(_unwritable(folder, error)) from error
    return folder.absolute()


def _sha256(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None


def _fetch(jars: Sequence[Jar], folder: Path, progress: Progress) -> None:
    progress(f"fetching Kafka: {len(jars)} jars into {folder}")
    try:
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix="fetching-") as scratch,
            ThreadPoolExecutor(FETCHES_AT_ONCE) as pool,
        ):
            fetches = [pool.submit(_fetch_one, jar, Path(scratch), folder) for jar in jars]
            try:
                for done, fetch in enumerate(as_completed(fetches), 1):
                    fetch.result()
                    progress(f"fetching Kafka: {done} of {len(jars)} jars")
            finally:
                pool.shutdown(cancel_futures=True)
    except OSError as error:
        raise EmbeddedError(_unwritable(folder, error)) from error


def _fetch_one(jar: Jar, scratch: Path, folder: Path) -> None:
    fetched = _download(jar, scratch)
    actual = _sha256(fetched)
    if actual != jar.sha256:
        raise EmbeddedError(
            f"{jar.name}: what the Maven repository sent has SHA-256 {actual}, not {jar.sha256}, and was thrown away; "
            "try again, and if it stays so ask who runs the mirror or proxy between"
        )
    fetched.replace(folder / jar.name)


def _download(jar: Jar, scratch: Path) -> Path:
    # Imported here: only a fetch needs them, and they take 0.2 s.
    import requests
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    context = MavenContext(
        repo_cache=scratch, remote_repos=GlobalSettings.load().repositories or None, timeout=ANSWER_WITHIN_S
    )
    try:
        return Path(context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve())
    except requests.RequestException as error:
        raise EmbeddedError(
            f"{jar.name}: cannot be fetched from the Maven repository ({type(error).__name__}); connect to a network "
            "that reaches it, or set HTTPS_PROXY, and try again: what is there already is kept"
        ) from error
    except RuntimeError as error:
        raise EmbeddedError(
            f"{jar.name}: the Maven repository does not have it; check the mirror of jgo.conf"
        ) from error


def _unwritable(folder: Path, error: OSError) -> str:
    return (
        f"{folder}: {error.strerror or error}; make room, or choose a folder that you may write with WHIPSTITCH_CACHE"
    )
