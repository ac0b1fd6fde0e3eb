"""`keys create|list|revoke`: what clients authenticate with."""

import asyncio
import re
from urllib.parse import urlsplit

import click
import msgspec

from broker.control import remove_control
from broker.errors import BrokerError
from cli import control
from cli.output import instant, json_option, write_columns, write_json
from cli.problems import telling
from embedded.errors import EmbeddedError
from pipeline.directory import Directory
from pipeline.settings import SettingsError
from topics.control import Key, KeyKind, Scope

_SHORTEST_PREFIX = 7


@click.group()
def keys() -> None:
    """Keys that clients send events with."""


def _origins(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Origins are compared with what a browser sends: scheme, host and port, in small letters, and nothing else.
    `*` is any."""
    for value in values:
        parts = urlsplit(value)
        if value != "*" and (
            parts.scheme not in {"http", "https"} or value != f"{parts.scheme}://{parts.netloc}".lower()
        ):
            raise click.BadParameter(f"{value!r}; write it as browsers send it, e.g. https://shop.example")
    return values


@keys.command()
@click.option("--project", "project_id", required=True, help="The project that its events belong to.")
@click.option(
    "--kind", type=click.Choice(["public", "secret"]), required=True, help="public: in browsers and apps; secret: not."
)
@click.option(
    "--origin", "origins", multiple=True, callback=_origins, help="A web origin that may use it, * for any; repeatable."
)
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(["ingest", "admin"]),
    multiple=True,
    default=("ingest",),
    show_default=True,
    help="What it may do; repeatable.",
)
@click.option("--rate-limit-per-s", type=click.IntRange(min=1), help="Most events a second, at each ingress process.")
@json_option
@telling(SettingsError, EmbeddedError, BrokerError)
def create(
    project_id: str,
    kind: KeyKind,
    origins: tuple[str, ...],
    scopes: tuple[Scope, ...],
    rate_limit_per_s: int | None,
    as_json: bool,
) -> None:
    """Make a key. It is shown this once: only its hash is kept.

    \b
    Example:
      whipstitch keys create --project default --kind public --origin https://shop.example
    """
    if kind == "public" and "admin" in scopes:
        raise click.UsageError("a public key is seen by everyone; --scope admin is for secret keys")
    settings = control.settings_for_kafka()
    project = control.project(control.directory(settings), project_id)
    key, record = control.new_key(project.id, kind, scopes, origins)
    control.write(settings, msgspec.structs.replace(record, rate_limit_per_s=rate_limit_per_s))
    if as_json:
        write_json({"project": project.id, "kind": kind, "key": key})
    else:
        click.echo(key)


@keys.command("list")
@click.option("--project", "project_id", help="Only this project's.")
@json_option
@telling(SettingsError, EmbeddedError, BrokerError)
def list_keys(project_id: str | None, as_json: bool) -> None:
    """List the keys, by their first characters.

    \b
    Example:
      whipstitch keys list --project default
    """
    found = control.directory(control.settings_for_kafka())
    wanted = control.project(found, project_id).id if project_id else None
    chosen = [key for key in found.keys.values() if wanted in {None, key.project_id}]
    chosen.sort(key=lambda key: (key.project_id, key.created_at_ms))
    if as_json:
        for key in chosen:
            write_json(_as_json(key))
    else:
        write_columns(
            ("KEY", "KIND", "PROJECT", "SCOPES", "ORIGINS", "CREATED"),
            [
                (
                    f"{key.hint}…",
                    key.kind,
                    key.project_id,
                    ",".join(key.scopes),
                    ",".join(key.origins) or "-",
                    instant(key.created_at_ms / 1000),
                )
                for key in chosen
            ],
        )


@keys.command()
@click.argument("key", metavar="HINT_OR_KEY")
@telling(SettingsError, EmbeddedError, BrokerError)
def revoke(key: str) -> None:
    """Revoke a key, named by its first characters, by itself, or by the start of its hash (see `keys list --json`).

    \b
    Example:
      whipstitch keys revoke sk_3f9a
    """
    settings = control.settings_for_kafka()
    record = one_key(control.directory(settings), key)
    asyncio.run(remove_control(settings, record))
    click.echo(f"revoked {record.hint}… ({record.kind} key of {record.project_id})")


def one_key(found: Directory, given: str) -> Key:
    """The only key that is meant. Raises click's ClickException where that is none, or not one."""
    if (exact := found.key_for(given)) is not None:
        return exact
    hint = given.rstrip("….")
    matching = [key for key in found.keys.values() if key.hint == hint or _starts_hash(key, hint)]
    if not matching:
        raise click.ClickException(f"no key {given!r}; `whipstitch keys list` shows those there are")
    if len(matching) > 1:
        hashes = ", ".join(key.hash[:12] for key in matching)
        raise click.ClickException(f"{len(matching)} keys start with {hint!r}; name one by its hash: {hashes}")
    return matching[0]


def _starts_hash(key: Key, given: str) -> bool:
    return (
        len(given) >= _SHORTEST_PREFIX and re.fullmatch("[0-9a-f]+", given) is not None and key.hash.startswith(given)
    )


def _as_json(key: Key) -> dict[str, object]:
    return {
        "hint": key.hint,
        "kind": key.kind,
        "project": key.project_id,
        "scopes": key.scopes,
        "origins": key.origins,
        "rate_limit_per_s": key.rate_limit_per_s,
        "created": instant(key.created_at_ms / 1000),
        "hash": key.hash,
    }
