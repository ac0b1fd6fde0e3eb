"""`projects create|list|set`: the settings that are a project's own."""

import re
from collections.abc import Callable
from functools import reduce
from typing import Any, TypedDict, Unpack

import click
import msgspec

from broker.errors import BrokerError
from cli import control
from cli.output import instant, json_option, write_columns, write_json
from cli.problems import telling
from embedded.errors import EmbeddedError
from pipeline.settings import SettingsError
from topics.control import Policy, Project

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HEADING = (
    "PROJECT",
    "POLICY",
    "IMPLICIT LINKS",
    "USERS/ANONYMOUS ID",
    "USERS/PERSON",
    "PUBLIC USER EDGES",
    "BLOCKED IDS",
    "CREATED",
)

_OPTIONS = (
    click.option(
        "--policy",
        type=click.Choice(["interval", "first_wins", "last_wins", "isolate"]),
        help="Whose an anonymous event is that several users could claim.",
    ),
    click.option(
        "--implicit-links/--no-implicit-links",
        default=None,
        help="Whether any event that carries both ids links them, or an identify only.",
    ),
    click.option(
        "--max-users-per-anonymous-id", type=click.IntRange(min=1), help="Beyond it an anonymous id is nobody's."
    ),
    click.option(
        "--max-users-per-person",
        type=click.IntRange(min=2),
        help="Beyond it the users that are tied together count as alone, and are reported.",
    ),
    click.option(
        "--public-user-edges/--no-public-user-edges",
        default=None,
        help="Whether a public key's events may tie or part two users (alias, $merge and the like).",
    ),
    click.option("--block", multiple=True, metavar="ID", help="An id that is nobody's, as a test's; repeatable."),
)


class Given(TypedDict):
    """What the options say; None where one was not given."""

    policy: Policy | None
    implicit_links: bool | None
    max_users_per_anonymous_id: int | None
    max_users_per_person: int | None
    public_user_edges: bool | None
    block: tuple[str, ...]


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    return reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), command)


def _new_id(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not _ID.fullmatch(value):
        raise click.BadParameter(f"{value!r}; use 1 to 64 letters, digits, dots, dashes and underscores")
    return value


@click.group()
def projects() -> None:
    """Projects and their settings."""


@projects.command()
@click.argument("project_id", metavar="PROJECT", callback=_new_id)
@_with_settings
@json_option
@telling(SettingsError, EmbeddedError, BrokerError)
def create(project_id: str, as_json: bool, **given: Unpack[Given]) -> None:
    """Make a project.

    \b
    Example:
      whipstitch projects create shop --policy interval
    """
    settings = control.settings_for_kafka()
    if project_id in control.directory(settings).projects:
        raise click.ClickException(f"project {project_id!r} is there; change it with `whipstitch projects set`")
    project = changed(Project(id=project_id, created_at_ms=control.now_ms()), given)
    control.write(settings, project)
    _show([project], as_json)


@projects.command("list")
@json_option
@telling(SettingsError, EmbeddedError, BrokerError)
def list_projects(as_json: bool) -> None:
    """List the projects with their settings.

    \b
    Example:
      whipstitch projects list --json
    """
    found = control.directory(control.settings_for_kafka()).projects
    _show([found[project_id] for project_id in sorted(found)], as_json)


@projects.command("set")
@click.argument("project_id", metavar="PROJECT")
@_with_settings
@click.option("--unblock", multiple=True, metavar="ID", help="Take an id off the list; repeatable.")
@json_option
@telling(SettingsError, EmbeddedError, BrokerError)
def set_project(project_id: str, unblock: tuple[str, ...], as_json: bool, **given: Unpack[Given]) -> None:
    """Change a project's settings; what is not named stays. It takes effect within a second: the policy and the users
    of an anonymous id for all of history, as `events_resolved_v` shows it, the others for new events.

    \b
    Example:
      whipstitch projects set shop --policy last_wins --block test-user --block 00000000
    """
    settings = control.settings_for_kafka()
    project = changed(control.project(control.directory(settings), project_id), given, unblock)
    control.write(settings, project)
    _show([project], as_json)


def changed(project: Project, given: Given, unblock: tuple[str, ...] = ()) -> Project:
    blocked = {*project.blocked_ids, *given["block"]} - {*unblock}
    settings: dict[str, Any] = {name: value for name, value in given.items() if name != "block" and value is not None}
    return msgspec.structs.replace(project, blocked_ids=tuple(sorted(blocked)), **settings)


def _show(found: list[Project], as_json: bool) -> None:
    if as_json:
        for project in found:
            write_json(msgspec.structs.asdict(project))
    else:
        write_columns(_HEADING, [_row(project) for project in found])


def _row(project: Project) -> tuple[str, ...]:
    return (
        project.id,
        project.policy,
        "yes" if project.implicit_links else "no",
        str(project.max_users_per_anonymous_id),
        str(project.max_users_per_person),
        "yes" if project.public_user_edges else "no",
        ",".join(project.blocked_ids) or "-",
        instant(project.created_at_ms / 1000),
    )
