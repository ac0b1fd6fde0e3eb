"""The projects and keys that exist, and who was forgotten, folded from the records of `control.projects`.

Arrives: records of the topic, in order. Leaves: a new immutable `Directory`; the one before stays as it was, so a
reader on another task never sees half a change. Only the last record of a key counts, so the result is the same
before and after the topic is compacted. A record that cannot be read takes away what its key held before, and its
reason is kept: a key that cannot be read admits nobody.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from topics import control
from topics.control import Entry, Forgotten, Key, Project
from topics.records import UNREADABLE

ControlRecord = tuple[bytes | None, bytes | None]


@dataclass(frozen=True, slots=True)
class Directory:
    """Projects by id, keys by hash, by record key why a record could not be read, and the forgotten by
    `project/person`."""

    projects: Mapping[str, Project] = field(default_factory=lambda: MappingProxyType({}))
    keys: Mapping[str, Key] = field(default_factory=lambda: MappingProxyType({}))
    unreadable: Mapping[bytes, str] = field(default_factory=lambda: MappingProxyType({}))
    forgotten: Mapping[str, Forgotten] = field(default_factory=lambda: MappingProxyType({}))

    def apply(self, records: Iterable[ControlRecord]) -> Self:
        """The directory after these records, given as (key, value); a value of None removes. Costs one copy, however
        many records."""
        projects, keys, unreadable = dict(self.projects), dict(self.keys), dict(self.unreadable)
        forgotten = dict(self.forgotten)
        by_kind: dict[bytes, dict[str, Any]] = {b"project": projects, b"forgotten": forgotten}
        for record_key, value in records:
            name = record_key or b""
            kind, _, id_bytes = name.partition(b"/")
            id_ = id_bytes.decode(errors="replace")
            unreadable.pop(name, None)
            by_kind.get(kind, keys).pop(id_, None)
            if value is None:
                continue
            match _read(name, value):
                case Project() as project:
                    projects[project.id] = project
                case Key() as key:
                    keys[key.hash] = key
                case Forgotten() as person:
                    forgotten[control.forgotten_id(person)] = person
                case str() as reason:
                    unreadable[name] = reason
        return type(self)(
            MappingProxyType(projects),
            MappingProxyType(keys),
            MappingProxyType(unreadable),
            MappingProxyType(forgotten),
        )

    def key_for(self, secret: str) -> Key | None:
        """The key that this secret is; None where there is none or it was revoked. Looks up the secret's hash, so
        how long it takes says nothing of the secrets that exist."""
        return self.keys.get(control.key_hash(secret))


def _read(record_key: bytes, value: bytes) -> Entry | str:
    """The record, or why it cannot be read."""
    try:
        record: Entry = control.decode(value)
    except UNREADABLE as error:
        return str(error)
    if control.record_key(record) != record_key:
        return f"the record's key is not that of the {type(record).__name__.lower()} inside it"
    return record
