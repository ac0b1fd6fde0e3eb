"""Records of the compacted topic `control.projects`: projects, their settings, and keys.

The record's key is `project/{id}` or `key/{hash}`; its value is one of the structs here, or nothing (a tombstone) when
it was removed. Only a key's SHA-256 is kept: a key has 160 random bits, so the hash needs no salt.
"""

import hashlib
import secrets
from typing import Annotated, Literal

import msgspec

KeyKind = Literal["public", "secret"]
Scope = Literal["ingest", "admin"]
Policy = Literal["interval", "first_wins", "last_wins", "isolate"]

_PREFIXES: dict[KeyKind, str] = {"public": "pk_", "secret": "sk_"}


class Project(msgspec.Struct, frozen=True, tag="project"):
    """A project and the settings that are its own. `created_at_ms` is Unix milliseconds. `public_user_edges`: whether
    an event sent with a public key may tie or part two users (alias, `$merge` and the like)."""

    id: str
    created_at_ms: int
    policy: Policy = "interval"
    implicit_links: bool = True
    max_users_per_anonymous_id: int = 10
    blocked_ids: tuple[str, ...] = ()
    public_user_edges: bool = False
    max_users_per_person: int = 50


class Key(msgspec.Struct, frozen=True, tag="key"):
    """A key of a project; `hint` is its first characters, enough to recognise it and too few to use it. Origins bind a
    public key only (`*` is any). `rate_limit_per_s` counts events, at each ingress process; None is no limit."""

    hash: str
    hint: str
    project_id: str
    kind: KeyKind
    created_at_ms: int
    scopes: tuple[Scope, ...] = ("ingest",)
    origins: tuple[str, ...] = ()
    rate_limit_per_s: Annotated[int, msgspec.Meta(ge=1)] | None = None


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Project | Key).decode


def new_key(kind: KeyKind) -> str:
    return _PREFIXES[kind] + secrets.token_hex(20)


def key_hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def key_hint(key: str) -> str:
    return key[:7]


def record_key(record: Project | Key) -> bytes:
    return (f"project/{record.id}" if isinstance(record, Project) else f"key/{record.hash}").encode()
