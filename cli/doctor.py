"""`doctor`: is each part reachable and well, and if not, what to do. Works when nothing runs.

Leaves a line for each check and each setting on stdout; exit code 1 where something is wrong.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import click

from cli import checks
from cli.checks import Check
from cli.output import json_option, write_json
from pipeline.settings import FILE, PREFIX, Settings, SettingsError, load

_SECRET_NAMES = {"kafka_security_password"}
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^:]*):.*(?=@)")


@dataclass(frozen=True, slots=True)
class Told:
    """A setting as it is shown."""

    name: str
    value: str
    source: str


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what is wrong, and how to mend it: each part reachable, versions, topics, tables, lag, disk, clock, settings.

    Exit 1 where something is not well.

    \b
    Example:
      whipstitch doctor --json
    """
    told: list[Told] = []
    try:
        settings = load()
    except SettingsError as error:
        found = [Check("settings", False, problem) for problem in str(error).splitlines()]
    else:
        found = list(_all_checks(settings))
        told = list(tell_settings(settings, os.environ))
    is_well = all(check.is_well for check in found)
    if as_json:
        write_json({"ok": is_well, "checks": [asdict(c) for c in found], "settings": [asdict(t) for t in told]})
    else:
        _print(found, told)
    if not is_well:
        raise SystemExit(1)


def tell_settings(settings: Settings, environ: Mapping[str, str]) -> Iterator[Told]:
    for field in Settings.model_fields:
        name = f"{PREFIX}{field.upper()}"
        source = "environment" if name in environ else str(FILE) if field in settings.model_fields_set else "default"
        yield Told(name, _shown(field, getattr(settings, field)), source)


def _shown(field: str, value: object) -> str:
    """Passwords are hidden; so is the password inside an address."""
    if value is None:
        return "-"
    return "…" if field in _SECRET_NAMES else _PASSWORD_IN_URL.sub(r"\1:…", str(value))


def _all_checks(settings: Settings) -> Iterator[Check]:
    yield from checks.versions()
    yield from checks.compiled()
    yield from checks.disk(settings.data)
    yield from checks.kafka(settings)
    yield from checks.store(settings)
    yield from checks.ingress(settings)


def _print(found: list[Check], told: list[Told]) -> None:
    for check in found:
        mark = click.style("ok   ", fg="green") if check.is_well else click.style("WRONG", fg="red", bold=True)
        click.echo(f"{mark}  {check.name:<9} {check.says}")
    click.echo()
    for setting in told:
        click.echo(f"{setting.name:<34} {setting.value}  ({setting.source})")
