"""A person as `identity show` tells it, put together from the rows of one id.

Arrives: rows, as they stand in the store. Leaves: one `Person` for each that the id belongs to. Whose an event is that
says no user is decided as everywhere (`pipeline/identity.py`), from all facts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from cli.identity_edges import Edge, edges
from cli.identity_rows import Done, Rows, Tie
from pipeline.identity import Ownership, Point, owner_at
from pipeline.person import person_id
from topics.control import Policy
from topics.persons import Standing

AnonymousStanding = Literal["linked", "shared", "unlinked"]


@dataclass(frozen=True, slots=True)
class Seen:
    events: int
    first_seen: datetime | None
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class User:
    """`seen` counts the events that say this user."""

    user_id: str
    seen: Seen


@dataclass(frozen=True, slots=True)
class AnonymousId:
    """`seen` counts the events under this id that are this person's; `ties` are all that is known of the id."""

    anonymous_id: str
    standing: AnonymousStanding
    seen: Seen
    ties: tuple[Tie, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """`user_id` is the canonical user; None for somebody anonymous."""

    project_id: str
    person_id: UUID
    user_id: str | None
    standing: Standing | Literal["anonymous"]
    seen: Seen
    users: tuple[User, ...]
    anonymous_ids: tuple[AnonymousId, ...]
    edges: tuple[Edge, ...]


def persons(rows: Rows) -> list[Person]:
    """The persons of all users in the rows, and that of the anonymous id as far as it is nobody's."""
    devices = _devices(rows)
    owned = [(_owner(done, devices, rows.policy), done) for done in rows.done]
    canonical = {each.user_id: each.canonical_user_id for each in rows.memberships}
    ties = edges(rows.edge_facts, canonical)
    known = [_known(rows, user_id, devices, owned, ties) for user_id in sorted({*canonical.values()})]
    if rows.anonymous_id is None:
        return known
    nobody = _nobody(rows.project_id, devices[rows.anonymous_id], owned)
    return [*known, nobody] if nobody.seen.events or not known else known


class _Device:
    """All that is known of one anonymous id, and whose it is."""

    def __init__(self, anonymous_id: str, ties: Sequence[Tie], max_users: int) -> None:
        self.anonymous_id = anonymous_id
        self.ties = tuple(ties)
        self._max_users = max_users
        users = {tie.user_id for tie in ties if tie.user_id is not None and tie.kind != "first"}
        self._ownership = Ownership(tuple(_point(tie) for tie in ties), tuple(sorted(users)))

    def owner(self, ties: int, policy: Policy) -> str | None:
        """Whose an anonymous event is that lies behind so many ties."""
        if not self.ties:
            return None
        after = _moment(self.ties[ties - 1]) if ties else (float("-inf"), "")
        return owner_at(self._ownership, *after, self._max_users, policy)

    @property
    def standing(self) -> AnonymousStanding:
        """Where somebody was first, nobody has it only because too many have had it."""
        first = next((ties for ties, tie in enumerate(self.ties, start=1) if tie.user_id is not None), None)
        if first is None:
            return "unlinked"
        return "linked" if self.owner(first, "first_wins") is not None else "shared"

    def with_events(self, done: Iterable[Done]) -> AnonymousId:
        of_it = (each for each in done if each.anonymous_id == self.anonymous_id)
        return AnonymousId(self.anonymous_id, self.standing, _seen(of_it), self.ties)


Owned = Sequence[tuple[str | None, Done]]
"""Events, and the user whose they are."""


def _devices(rows: Rows) -> dict[str, _Device]:
    ties: dict[str, list[Tie]] = {} if rows.anonymous_id is None else {rows.anonymous_id: []}
    for tie in rows.ties:
        ties.setdefault(tie.anonymous_id, []).append(tie)
    return {anonymous_id: _Device(anonymous_id, ties[anonymous_id], rows.max_users) for anonymous_id in sorted(ties)}


def _owner(done: Done, devices: dict[str, _Device], policy: Policy) -> str | None:
    if done.user_id is not None or done.anonymous_id not in devices:
        return done.user_id
    return devices[done.anonymous_id].owner(done.ties, policy)


def _known(
    rows: Rows, canonical_user_id: str, devices: dict[str, _Device], owned: Owned, ties: Sequence[Edge]
) -> Person:
    members = [each for each in rows.memberships if each.canonical_user_id == canonical_user_id]
    user_ids = {each.user_id for each in members}
    done = [each for owner, each in owned if owner in user_ids]
    return Person(
        project_id=rows.project_id,
        person_id=person_id(rows.project_id, canonical_user_id, None),
        user_id=canonical_user_id,
        standing=members[0].standing,
        seen=_seen(done),
        users=tuple(
            User(user_id, _seen(each for each in done if each.user_id == user_id))
            for user_id in sorted(user_ids, key=lambda user_id: (user_id != canonical_user_id, user_id))
        ),
        anonymous_ids=tuple(_of_person(devices.values(), user_ids, done)),
        edges=tuple(edge for edge in ties if {edge.from_user_id, edge.to_user_id} & user_ids),
    )


def _of_person(devices: Iterable[_Device], user_ids: set[str], done: Sequence[Done]) -> Iterator[AnonymousId]:
    """The anonymous ids that have been one of these users'. An alias says of its previous id that it may be one: of a
    user who never was, that is no news."""
    for device in devices:
        if any(tie.user_id in user_ids for tie in device.ties):
            shown = device.with_events(done)
            if shown.seen.events or device.anonymous_id not in user_ids:
                yield shown


def _nobody(project_id: str, device: _Device, owned: Owned) -> Person:
    """The person that an anonymous id is as far as it is nobody's."""
    done = [each for owner, each in owned if owner is None and each.anonymous_id == device.anonymous_id]
    return Person(
        project_id=project_id,
        person_id=person_id(project_id, None, device.anonymous_id),
        user_id=None,
        standing="anonymous",
        seen=_seen(done),
        users=(),
        anonymous_ids=(device.with_events(done),),
        edges=(),
    )


def _point(tie: Tie) -> Point:
    return Point(*_moment(tie), tie.user_id, only_first=tie.kind == "first")


def _moment(tie: Tie) -> tuple[float, str]:
    return tie.message.timestamp.timestamp(), tie.message.message_id


def _seen(done: Iterable[Done]) -> Seen:
    all_of_it = list(done)
    return Seen(
        events=sum(each.events for each in all_of_it),
        first_seen=min((each.first_seen for each in all_of_it), default=None),
        last_seen=max((each.last_seen for each in all_of_it), default=None),
    )
