"""Rows of the store's tables as the topics carry them, with everything that a test does not care about filled in; and
how tests put them into a store and see them again."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from store.client import Row, Store, open_store
from store.migrate import migrate
from store.tables import EVENTS

RECEIVED_AT_S = 1_790_000_000.5


def event_row(**given: Any) -> bytes:
    """A row of `events_stored`. `raw` and `properties` may be bytes: JSON as it stands."""
    columns = {
        "project_id": "p",
        "message_id": "m",
        "type": "track",
        "event_name": "Viewed",
        "anonymous_id": None,
        "user_id": None,
        "stitched_user_id": None,
        "session_id": None,
        "timestamp": RECEIVED_AT_S,
        "original_timestamp": None,
        "sent_at": None,
        "received_at": RECEIVED_AT_S,
        "properties": {},
        "traits": {},
        "context": {},
        "integrations": {},
        "library": None,
        "warnings": [],
        "raw": {},
        **given,
    }
    return _row(columns)


def link_row(**given: Any) -> bytes:
    """A row of `identity_links_stored`."""
    columns = {
        "project_id": "p",
        "anonymous_id": "A",
        "user_id": "U",
        "timestamp": RECEIVED_AT_S,
        "message_id": "m",
        "kind": "exact",
        "received_at": RECEIVED_AT_S,
        **given,
    }
    return _row(columns)


def edge_row(**given: Any) -> bytes:
    """A row of `identity_edges_stored`."""
    columns = {
        "project_id": "p",
        "kind": "alias",
        "action": "join",
        "from_user_id": "U1",
        "to_user_id": "U2",
        "timestamp": RECEIVED_AT_S,
        "message_id": "m",
        "received_at": RECEIVED_AT_S,
        **given,
    }
    return _row(columns)


def person_row(**given: Any) -> bytes:
    """A row of `identity_persons_stored`."""
    columns = {
        "project_id": "p",
        "user_id": "U1",
        "since": RECEIVED_AT_S,
        "canonical_user_id": "U2",
        "standing": "joined",
        "message_id": "m",
        "version": 0,
        **given,
    }
    return _row(columns)


def project_row(**given: Any) -> bytes:
    """A row of `projects_stored`."""
    columns = {"project_id": "p", "policy": "interval", "max_users_per_anonymous_id": 10, "version": 0, **given}
    return _row(columns)


@contextmanager
def migrated(url: str | None) -> Iterator[Store]:
    """The store at this address, with all its tables."""
    opened = open_store(str(url))
    migrate(opened)
    yield opened
    opened.close()


def insert(store: Store, *rows: bytes, table: str = EVENTS) -> None:
    """Each row by an insert of its own, so in a part of its own."""
    for row in rows:
        store.insert(table, [row], str(uuid4()))


def seen(store: Store, project: str, columns: str, view: str = "events") -> list[Row]:
    """One project's rows, ordered by all of these columns."""
    sql = f"SELECT {columns} FROM {view} WHERE project_id = {{project:String}} ORDER BY ALL"
    return store.query(sql, {"project": project})


def _row(columns: dict[str, Any]) -> bytes:
    members = (
        json.dumps(name).encode() + b":" + (value if isinstance(value, bytes) else json.dumps(value).encode())
        for name, value in columns.items()
    )
    return b"{" + b",".join(members) + b"}"
