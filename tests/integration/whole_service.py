"""The whole service: Kafka, store, worker and ingress, for tests that send requests and look at rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fixtures.system import System, running_system
from tests.integration.ingress_process import RunningIngress, known_key, make_key, running_ingress, wait_ready
from tests.waiting import eventually
from topics.control import Key, KeyKind


@dataclass(frozen=True)
class Service:
    """Every key is of a project of its own, so that tests see their own rows only."""

    system: System
    ingress: RunningIngress

    def key(self, kind: KeyKind = "secret") -> tuple[str, Key]:
        """A new key that the ingress knows: its secret and its record."""
        if kind == "secret":
            return known_key(self.ingress)
        secret, key = make_key(self.ingress.settings, kind=kind)
        eventually(
            lambda: self.ingress.post("/v1/batch", {"batch": []}, secret).status == 200, "the public key is known"
        )
        return secret, key

    def rows(self, project_id: str, n: int, columns: str = "*") -> list[dict[str, Any]]:
        """The project's rows once there are `n` of them, by messageId."""
        sql = f"SELECT {columns} FROM events WHERE project_id = {{p:String}} ORDER BY message_id"
        eventually(lambda: self._count("events", project_id) == n, f"{n} rows of {project_id}")
        return self.system.rows(sql, p=project_id)

    def dead_letters(self, project_id: str, n: int) -> list[dict[str, Any]]:
        """The project's dead letters once there are `n` of them, by messageId."""
        sql = "SELECT message_id, reason, raw FROM rejected_events WHERE project_id = {p:String} ORDER BY message_id"
        eventually(lambda: self._count("rejected_events", project_id) == n, f"{n} dead letters of {project_id}")
        return self.system.rows(sql, p=project_id)

    def links(self, project_id: str, n: int) -> list[tuple[str, str]]:
        """Who the project's anonymous ids are, once `n` links say it: they may be stored after the events."""
        sql = "SELECT anonymous_id, user_id FROM identity_links WHERE project_id = {p:String} ORDER BY anonymous_id"
        eventually(lambda: self._count("identity_links", project_id) == n, f"{n} links of {project_id}")
        return [(row["anonymous_id"], row["user_id"]) for row in self.system.rows(sql, p=project_id)]

    def _count(self, view: str, project_id: str) -> int:
        return self.system.count(f"{view} WHERE project_id = {{p:String}}", p=project_id)


@contextmanager
def whole_service(folder: Path) -> Iterator[Service]:
    with (
        running_system(folder) as system,
        system.worker(),
        running_ingress(system.settings.kafka, folder) as ingress,
    ):
        wait_ready(ingress)
        yield Service(system, ingress)
