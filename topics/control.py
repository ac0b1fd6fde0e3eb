"""Records of the compacted topic `control.projects`: projects, their settings, keys, and who was forgotten.

The record's key is `project/{id}`, `key/{hash}` or `forgotten/{project}/{person}`; its value is one of the structs
here, or nothing (a tombstone) when it was removed. Only a key's SHA-256 is kept: a key has 160 random bits, so the hash
needs no salt.
"""

import hashlib
import secrets
from typing import Annotated, Literal, TypeAlias, assert_never

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


class Forgotten(msgspec.Struct, frozen=True, tag="forgotten"):
    """A person that was forgotten: what was received until then is theirs no more, nor anybody's. `person_id` is a
    UUID's text, and all that is kept of them."""

    project_id: str
    person_id: str
    forgotten_at_ms: int


Entry: TypeAlias = Project | Key | Forgotten

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Entry).decode


def new_key(kind: KeyKind) -> str:
    return _PREFIXES[kind] + secrets.token_hex(20)


def key_hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def key_hint(key: str) -> str:
    return key[:7]


def record_key(record: Entry) -> bytes:
    match record:
        case Project(id=project_id):
            return f"project/{project_id}".encode()
        case Key(hash=key_hash):
            return f"key/{key_hash}".encode()
        case Forgotten():
            return f"forgotten/{forgotten_id(record)}".encode()
        case _:
            assert_never(record)


def forgotten_id(record: Forgotten) -> str:
    return f"{record.project_id}/{record.person_id}"
