"""Kafka's jars: fetched by the real resolver from a real repository on the loopback address, and checked."""

import gc
import hashlib
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from jgo.env import EnvironmentSpec
from jgo.env._lockfile import compute_spec_hash

from embedded.errors import EmbeddedError
from embedded.jars import LOCK_FILE, RESOURCES, Jar, default_cache, jars_in, locked_jars
from embedded.process import free_port

CONTENT = b"a jar, more or less"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a Maven repository that the resolver is configured to use."""
    folder = tmp_path / "repository"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        _use_repository(server.server_port, tmp_path, monkeypatch)
        yield folder
        server.shutdown()


def _use_repository(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jgo.conf").write_text(f"[repositories]\nlocal = http://127.0.0.1:{port}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "jgo.conf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def publish(repository: Path, artifact: str, content: bytes = CONTENT) -> Jar:
    """Put `content` there, and lock CONTENT."""
    jar = Jar("org.example", artifact, "1.0", hashlib.sha256(CONTENT).hexdigest())
    folder = repository / "org" / "example" / artifact / "1.0"
    folder.mkdir(parents=True)
    (folder / jar.name).write_bytes(content)
    return jar


def quiet(text: str) -> None:
    pass


def names_in(cache: Path) -> list[str]:
    return sorted(file.name for file in (cache / "jars").iterdir())


def test_jars_are_fetched_in_the_locked_order_and_the_way_is_told(repository: Path, tmp_path: Path) -> None:
    told: list[str] = []
    jars = [publish(repository, name) for name in ("b", "a")]
    files = jars_in(tmp_path / "cache", told.append, jars)
    assert [file.name for file in files] == ["b-1.0.jar", "a-1.0.jar"]
    assert {file.read_bytes() for file in files} == {CONTENT}
    assert told[-1] == "fetching Kafka: 2 of 2 jars"
    assert names_in(tmp_path / "cache") == ["a-1.0.jar", "b-1.0.jar"]


def test_jars_that_are_there_are_not_fetched_again(repository: Path, tmp_path: Path) -> None:
    told: list[str] = []
    jar = publish(repository, "a")
    jars_in(tmp_path / "cache", quiet, [jar])
    assert jars_in(tmp_path / "cache", told.append, [jar])
    assert told == []


def test_wrong_checksum_is_refused_names_the_jar_and_leaves_none_of_it(repository: Path, tmp_path: Path) -> None:
    jar = publish(repository, "a", CONTENT + b", changed")
    with pytest.raises(EmbeddedError, match=rf"^a-1\.0\.jar: .* SHA-256 .*, not {jar.sha256}, and was thrown away"):
        jars_in(tmp_path / "cache", quiet, [jar])
    assert names_in(tmp_path / "cache") == []


@pytest.mark.parametrize("damaged", [CONTENT[:-1], b"", CONTENT.replace(b"more", b"MORE")])
def test_a_jar_damaged_in_the_cache_is_fetched_again(damaged: bytes, repository: Path, tmp_path: Path) -> None:
    jar = publish(repository, "a")
    (file,) = jars_in(tmp_path / "cache", quiet, [jar])
    file.write_bytes(damaged)
    assert jars_in(tmp_path / "cache", quiet, [jar]) == [file]
    assert file.read_bytes() == CONTENT


def test_a_damaged_jar_that_cannot_be_replaced_is_not_handed_out(repository: Path, tmp_path: Path) -> None:
    jar = publish(repository, "a", CONTENT[:-1])
    (tmp_path / "cache" / "jars").mkdir(parents=True)
    (tmp_path / "cache" / "jars" / jar.name).write_bytes(CONTENT[:-1])
    for _ in range(2):
        with pytest.raises(EmbeddedError, match=r"^a-1\.0\.jar: "):
            jars_in(tmp_path / "cache", quiet, [jar])


def test_what_was_fetched_before_a_failure_is_kept(repository: Path, tmp_path: Path) -> None:
    good, bad = publish(repository, "a"), publish(repository, "b", b"wrong")
    jars_in(tmp_path / "cache", quiet, [good])
    with pytest.raises(EmbeddedError, match=r"^b-1\.0\.jar: "):
        jars_in(tmp_path / "cache", quiet, [good, bad])
    assert names_in(tmp_path / "cache") == ["a-1.0.jar"]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the resolver does not close the answer that says no
def test_a_jar_that_the_repository_lacks_is_named(repository: Path, tmp_path: Path) -> None:
    jar = Jar("org.example", "absent", "1.0", "0" * 64)
    with pytest.raises(EmbeddedError, match=r"^absent-1\.0\.jar: the Maven repository does not have it"):
        jars_in(tmp_path / "cache", quiet, [jar])
    gc.collect()


def test_no_network_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "none.conf"))
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(EmbeddedError, match=r"cannot be fetched .* \(ProxyError\); connect to a network"):
        jars_in(tmp_path / "cache", quiet)
    assert names_in(tmp_path / "cache") == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, where a folder should be")
    with pytest.raises(EmbeddedError, match=r"/cache/jars: .*WHIPSTITCH_CACHE"):
        jars_in(tmp_path / "cache", quiet)


def test_a_cache_path_that_java_would_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="Java cannot read jars from a path with ':'"):
        jars_in(tmp_path / "a:b", quiet)


def test_the_cache_is_the_users_unless_told_otherwise() -> None:
    assert default_cache({}) == Path.home() / ".cache" / "whipstitch"
    assert default_cache({"XDG_CACHE_HOME": "/var/cache"}) == Path("/var/cache/whipstitch")


def test_the_lock_file_is_that_of_the_specification_and_names_no_place() -> None:
    locked = LOCK_FILE.read_text()
    assert f'spec_hash = "{compute_spec_hash(RESOURCES / "jgo.toml")}"' in locked
    assert not re.search(r"://|/home|/root|/tmp|/work", locked + (RESOURCES / "jgo.toml").read_text())


def test_every_jar_is_locked_by_its_sha256_under_a_name_of_its_own() -> None:
    jars = locked_jars()
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in jars)
    assert len({jar.name for jar in jars}) == len(jars) > 40


def test_the_locked_versions_are_those_asked_for() -> None:
    locked = {f"{jar.group}:{jar.artifact}:{jar.version}" for jar in locked_jars()}
    asked = {one.removesuffix("!") for one in EnvironmentSpec.load(RESOURCES / "jgo.toml").coordinates}
    assert asked <= locked
    assert "org.apache.kafka:kafka-clients:4.3.1" in locked
