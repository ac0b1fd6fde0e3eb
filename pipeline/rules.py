"""The rules that a batch is decided by: limits from the settings, and each project's own settings."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pipeline.blocked import fold
from topics.control import Policy, Project


@dataclass(frozen=True, slots=True)
class ProjectRules:
    """What one project asks for; `blocked_ids` are its own, folded."""

    blocked_ids: frozenset[str]
    implicit_links: bool
    max_users: int
    public_user_edges: bool
    max_users_per_person: int
    policy: Policy


def project_rules(project: Project) -> ProjectRules:
    return ProjectRules(
        blocked_ids=frozenset(map(fold, project.blocked_ids)),
        implicit_links=project.implicit_links,
        max_users=project.max_users_per_anonymous_id,
        public_user_edges=project.public_user_edges,
        max_users_per_person=project.max_users_per_person,
        policy=project.policy,
    )


_UNKNOWN_PROJECT: Final = project_rules(Project(id="", created_at_ms=0))


class Rules:
    """Immutable; a change of a project's settings makes a new one. A project that is not known (removed since its
    events were taken) has the default rules."""

    def __init__(self, projects: Iterable[Project], *, max_event_bytes: int) -> None:
        self.max_event_bytes: Final = max_event_bytes
        self._projects = {project.id: project_rules(project) for project in projects}

    def of(self, project_id: str) -> ProjectRules:
        return self._projects.get(project_id, _UNKNOWN_PROJECT)
