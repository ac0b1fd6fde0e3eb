"""What `projects`, `keys` and `up` share: the directory of projects and keys as it is now, and changes to it."""

import asyncio
import time

import click

from broker.control import load_directory, write_control
from embedded.addresses import resolve
from pipeline.directory import Directory
from pipeline.settings import Settings, load
from topics import control
from topics.control import Key, KeyKind, Project, Scope


def settings_for_kafka() -> Settings:
    return resolve(load(), "kafka")


def directory(settings: Settings) -> Directory:
    return asyncio.run(load_directory(settings))


def project(found: Directory, project_id: str) -> Project:
    """Raises click's ClickException, which names the projects there are."""
    if project_id in found.projects:
        return found.projects[project_id]
    there_are = ", ".join(sorted(found.projects)) or "none"
    raise click.ClickException(
        f"no project {project_id!r}; there are: {there_are}; make it with `whipstitch projects create {project_id}`"
    )


def new_key(
    project_id: str, kind: KeyKind, scopes: tuple[Scope, ...] = ("ingest",), origins: tuple[str, ...] = ()
) -> tuple[str, Key]:
    """The key itself, which is kept nowhere, and its record."""
    key = control.new_key(kind)
    return key, Key(
        hash=control.key_hash(key),
        hint=control.key_hint(key),
        project_id=project_id,
        kind=kind,
        created_at_ms=now_ms(),
        scopes=scopes,
        origins=origins,
    )


def write(settings: Settings, *records: Project | Key) -> None:
    asyncio.run(write_control(settings, records))


def now_ms() -> int:
    return time.time_ns() // 1_000_000
