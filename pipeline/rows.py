"""What of each topic's records the store keeps: one row (JSONEachRow) for one record, or none.

Most records are rows already and pass unread.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from topics import control
from topics.control import Project
from topics.records import UNREADABLE, RawRecord
from topics.written import Written

Rows: TypeAlias = Callable[[Sequence[RawRecord]], list[bytes]]
"""Each of what it returns is a row, or several by lines."""


def rows_as_they_are(records: Sequence[RawRecord]) -> list[bytes]:
    if isinstance(records, Written):
        return records.values()
    return [record.value or b"" for record in records]


def rows_of_each(row: Callable[[RawRecord], bytes | None]) -> Rows:
    """The rows that `row` makes of one record each, of those that have one."""

    def rows(records: Sequence[RawRecord]) -> list[bytes]:
        return [made for record in records if (made := row(record)) is not None]

    return rows


def row_unless_removed(record: RawRecord) -> bytes | None:
    """None for a tombstone."""
    return record.value


def versioned_row(record: RawRecord) -> bytes | None:
    """The row with the record's offset as its version, by which a later record of the same key wins; None for a
    tombstone."""
    return _with_version(record.value, record.offset) if record.value else None


def project_row(record: RawRecord) -> bytes | None:
    """What of a project's settings the store reads identity by; None for a key, and for what cannot be read."""
    try:
        project = control.decode(record.value or b"")
    except UNREADABLE:
        return None
    if not isinstance(project, Project):
        return None
    columns = {
        "project_id": project.id,
        "policy": project.policy,
        "max_users_per_anonymous_id": project.max_users_per_anonymous_id,
    }
    return _with_version(msgspec.json.encode(columns), record.offset)


def _with_version(row: bytes, version: int) -> bytes:
    return b'%b,"version":%d}' % (row.rstrip()[:-1], version)
