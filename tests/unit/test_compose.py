"""The compose file, held to the code without a Docker engine: settings, commands, hosts and ports that exist."""

import re
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from cli.main import whipstitch
from pipeline.settings import Settings, load

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("image") == "whipstitch"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def settings_of(service: dict[str, Any]) -> Settings:
    return load(service["environment"], Path("there-is-no-such.toml"))


def listened_on(service: dict[str, Any]) -> set[str]:
    """The ports that the service's own environment, image or health check name."""
    return set(re.findall(r":(\d{4})\b", yaml.safe_dump(service)))


def test_all_parts_are_there() -> None:
    assert set(SERVICES) == {"kafka", "clickhouse", "topics", "migrate", "ingress", "worker"}
    assert set(OURS) == {"topics", "migrate", "ingress", "worker"}


@pytest.mark.parametrize("name", OURS)
def test_settings_load_whole_and_name_no_embedded_part(name: str) -> None:
    settings = settings_of(OURS[name])
    assert "embedded" not in (settings.kafka, settings.store)


@pytest.mark.parametrize("name", OURS)
def test_command_exists_and_takes_its_options(name: str) -> None:
    command: click.Command = whipstitch
    words = list(OURS[name]["command"])
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None
        command = found
    command.make_context(name, words)


@pytest.mark.parametrize("name", OURS)
def test_hosts_in_settings_are_services(name: str) -> None:
    settings = settings_of(OURS[name])
    hosts = {settings.kafka.split(":")[0], settings.store.split("@")[1].split(":")[0]}
    assert hosts == {"kafka", "clickhouse"}


def test_kafka_advertises_the_address_that_the_others_use() -> None:
    environment = SERVICES["kafka"]["environment"]
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{settings_of(OURS['worker']).kafka}"
    assert settings_of(OURS["worker"]).kafka.split(":")[1] in listened_on(SERVICES["kafka"])


def test_store_has_the_user_password_and_database_that_the_others_use() -> None:
    environment = SERVICES["clickhouse"]["environment"]
    user, password, database = (environment[f"CLICKHOUSE_{name}"] for name in ("USER", "PASSWORD", "DB"))
    assert settings_of(OURS["worker"]).store == f"clickhouse://{user}:{password}@clickhouse:9000/{database}"
    asks = SERVICES["clickhouse"]["healthcheck"]["test"]
    assert {"--host=clickhouse", f"--user={user}", f"--password={password}"} <= set(asks)


def test_published_and_checked_port_is_the_one_that_the_ingress_listens_on() -> None:
    ingress, settings = OURS["ingress"], settings_of(OURS["ingress"])
    assert ingress["ports"] == [f"127.0.0.1:8080:{settings.port}"]
    assert f"http://127.0.0.1:{settings.port}/health/ready" in ingress["healthcheck"]["test"][-1]
    assert f"EXPOSE {settings.port}" in DOCKERFILE
    assert settings.host == "0.0.0.0"


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_exists_and_can_come(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        if wait["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert wait["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"] == "no"


def test_whatever_runs_on_has_a_health_check() -> None:
    assert [name for name, it in SERVICES.items() if it["restart"] != "no" and "healthcheck" not in it] == []


def test_named_volumes_are_declared_and_all_are_used() -> None:
    mounted = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert mounted == set(COMPOSE["volumes"])


def test_topics_are_not_made_by_accident() -> None:
    """A topic that a client's first message makes has the wrong partition count for ever."""
    assert SERVICES["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_image_installs_the_locked_versions_by_hash_and_runs_as_nobody_special() -> None:
    assert "--require-hashes -r requirements.lock" in DOCKERFILE
    assert re.search(r"^USER (?!root)", DOCKERFILE, re.MULTILINE)
    assert 'ENTRYPOINT ["whipstitch"]' in DOCKERFILE


def test_what_the_image_is_built_from_is_let_through() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    packages = {name.split(".")[0] for name in shipped}
    assert let_through == packages | {"requirements.lock", "pyproject.toml", "README.md", "LICENSE"}
