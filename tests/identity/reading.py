"""The reference model's first half: what one record says, read as plainly as can be and apart from the pipeline.

Only what identity needs is read, and only calls whose fields have the types that they should have.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from topics.control import Project
from topics.raw import Dialect, Stamp, read_stamp
from topics.records import RawRecord

Settings = Mapping[str, Project]
"""By project id; a project that is not there has the default settings."""

Moment = tuple[int, str]
"""When, in Unix milliseconds, and the messageId: what facts are ordered by."""

_WORDS = """
    anonymous guest anon distinctid distinct_id id not_authenticated email undefined true false nil none null (null)
    n/a na nan unknown void <nil> [] {} -1
"""
PLACEHOLDERS = {"[object object]", *_WORDS.split()}


@dataclass(frozen=True)
class Link:
    """`user` is None for a reset."""

    anonymous: str
    user: str | None
    kind: str


@dataclass(frozen=True)
class Edge:
    kind: str
    action: str
    from_user: str
    to_user: str


@dataclass(frozen=True)
class Event:
    """One message, with the ids that are left of it and all that it states."""

    project: str
    id: str
    received_ms: int
    at_ms: int
    is_identify: bool
    anonymous: str | None
    user: str | None
    traits: Mapping[str, Any] = field(default_factory=dict, hash=False)
    links: frozenset[Link] = frozenset()
    edges: frozenset[Edge] = frozenset()
    letters: frozenset[str] = frozenset()

    @property
    def moment(self) -> Moment:
        return self.at_ms, self.id


@dataclass
class Said:
    """A call in any dialect."""

    type: str
    name: str
    anonymous: str | None
    user: str | None
    previous: str | None
    both: list[str] | None
    happened_ms: int | None
    sent_ms: int | None
    traits: Mapping[str, Any]
    is_original_merge: bool = False


def read(record: RawRecord, settings: Settings) -> Event | str:
    """The event, or the reason why it is refused."""
    stamp = read_stamp(record.headers)
    project = settings.get(stamp.project_id, Project(stamp.project_id, 0))
    given = json.loads(record.value or b"")
    said = _mixpanel(given, stamp) if stamp.dialect is Dialect.MIXPANEL else _segment(given, stamp)
    if isinstance(said, str):
        return said
    if refused := _refusal(said):
        return refused
    return _event(said, stamp, project)


def is_blocked(id: str, project: Project) -> bool:
    bare = _bare(id)
    return bare in PLACEHOLDERS or bare.strip("0-") == "" or bare in [_bare(further) for further in project.blocked_ids]


def _bare(id: str) -> str:
    return id.strip().strip("\"'").strip().casefold()


def _segment(given: dict[str, Any], stamp: Stamp) -> Said:
    kind = stamp.call or given["type"]
    traits = dict(given.get("traits") or {})
    user, anonymous = _text(given.get("userId")), _text(given.get("anonymousId"))
    if kind == "identify":
        if user is None and anonymous is None:
            user = _text(traits.get("email"))
        if user is not None and "@" in user and not traits.get("email"):
            traits["email"] = user
    return Said(
        type=kind,
        name=given.get("event", "") if kind == "track" else f"${kind}",
        anonymous=anonymous,
        user=user,
        previous=_text(given.get("previousId")),
        both=(given.get("properties") or {}).get("$distinct_ids"),
        happened_ms=_instant(given.get("originalTimestamp") or given.get("timestamp")),
        sent_ms=_instant(given.get("sentAt") or stamp.sent_at),
        traits=traits,
    )


def _mixpanel(given: dict[str, Any], stamp: Stamp) -> Said | str:
    name, properties = given["event"], given["properties"]
    said = Said("track", name, None, None, None, None, properties.get("time"), None, {})
    if name == "$merge":
        if stamp.call != "import" or stamp.key_kind != "secret":
            return "needs_secret_key"
        said.both = properties["$distinct_ids"]
    elif name == "$identify":
        said.type, said.is_original_merge = "identify", True
        said.anonymous, said.user = properties["$anon_id"].removeprefix("$device:"), properties["$identified_id"]
        if len(said.anonymous) != 36 or said.anonymous[14] != "4":
            return "invalid_field"
    else:
        said.anonymous, said.user = properties.get("$device_id"), properties.get("$user_id")
    return said


def _refusal(said: Said) -> str | None:
    if said.name in ("$merge", "$unmerge"):
        return None if said.both and len(said.both) == 2 else "missing_field"
    if said.name == "$reset" and not said.anonymous:
        return "missing_field"
    if said.name in ("$alias", "$unalias") and not (said.user and said.previous):
        return "missing_field"
    if said.type == "track" and not said.name:
        return "missing_field"
    return None if said.anonymous or said.user else "missing_id"


def _event(said: Said, stamp: Stamp, project: Project) -> Event:
    anonymous, user = said.anonymous, said.user
    user_blocked = user is not None and is_blocked(user, project)
    anonymous_blocked = anonymous is not None and is_blocked(anonymous, project)
    if user_blocked:
        user = None
    if anonymous_blocked:
        anonymous = None
    links = _links(said, anonymous, user, project)
    edges, letters = _edges(said, user, stamp, project)
    if user_blocked or anonymous_blocked:
        letters.add("blocked_id")
    if anonymous_blocked or (user_blocked and anonymous is None):
        anonymous = f"$blocked:{stamp.message_id}"
    return Event(
        project=stamp.project_id,
        id=stamp.message_id,
        received_ms=stamp.received_at_ms,
        at_ms=_corrected(said, stamp),
        is_identify=said.type == "identify",
        anonymous=anonymous,
        user=user,
        traits=said.traits,
        links=links,
        edges=edges,
        letters=frozenset(letters),
    )


def _links(said: Said, anonymous: str | None, user: str | None, project: Project) -> frozenset[Link]:
    if said.name == "$reset":
        return frozenset([Link(anonymous, None, "reset")]) if anonymous else frozenset()
    if said.name in ("$merge", "$unmerge", "$unalias") or user is None:
        return frozenset()
    links = set()
    if said.name == "$alias" and said.previous and not is_blocked(said.previous, project):
        links.add(Link(said.previous, user, "exact"))
    if anonymous and anonymous not in [link.anonymous for link in links]:
        if said.type == "identify":
            links.add(Link(anonymous, user, "first" if said.is_original_merge else "exact"))
        elif project.implicit_links:
            links.add(Link(anonymous, user, "implicit"))
    return frozenset(links)


def _edges(said: Said, user: str | None, stamp: Stamp, project: Project) -> tuple[frozenset[Edge], set[str]]:
    """The edge that is stated, if any, and reasons why one is not."""
    if said.name in ("$alias", "$unalias"):
        one, other, kind = said.previous, said.user, "alias"
        action = "join" if said.name == "$alias" else "part"
    elif said.name in ("$merge", "$unmerge") and said.both:
        one, other, kind = min(said.both), max(said.both), "merge"
        action = "join" if said.name == "$merge" else "part"
    else:
        return frozenset(), set()
    assert one
    assert other
    letters = set()
    if is_blocked(one, project) or is_blocked(other, project):
        letters.add("blocked_id")
    is_of_own_device = said.name == "$alias" and one == said.anonymous
    if one == other or is_of_own_device:
        return frozenset(), letters
    if stamp.key_kind == "public" and not project.public_user_edges:
        letters.add("needs_secret_key")
    return frozenset() if letters else frozenset([Edge(kind, action, one, other)]), letters


def _corrected(said: Said, stamp: Stamp) -> int:
    """Segment's rule, and never later than receipt."""
    if said.happened_ms is None:
        return stamp.received_at_ms
    behind_ms = 0 if said.sent_ms is None else stamp.received_at_ms - said.sent_ms
    return max(0, min(stamp.received_at_ms, said.happened_ms + behind_ms))


def _instant(text: str | None) -> int | None:
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)
