"""What of each topic's record the store keeps: one row (JSONEachRow) for one record, or none.

Most records are rows already and pass unread.
"""

import msgspec

from topics import control
from topics.control import Project
from topics.records import UNREADABLE, RawRecord


def row_as_it_is(record: RawRecord) -> bytes:
    return record.value or b""


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
