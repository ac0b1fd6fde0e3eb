"""Level 1 of identity: who owns an anonymous id over event time, as state that does not depend on order of arrival.

Facts arrive one at a time, in any order and repeatedly; `Ownership` is what is kept of them for one anonymous id, and
`owner_at` says who did an anonymous event. The state is bounded, so it serves the value written with the event; the
store keeps every fact and resolves history from all of them.
"""

from bisect import bisect_right, insort
from typing import Final

import msgspec

from topics.links import LinkFact, LinkKind

IMPLICIT_BUCKET_S: Final = 1800
KEPT_AT_EACH_END: Final = 8


class Point(msgspec.Struct, frozen=True, array_like=True, order=True, gc=False):
    """From `(timestamp, message_id)` on, `user_id` owns the anonymous id, or nobody does (None: a reset)."""

    timestamp: float
    message_id: str
    user_id: str | None
    implicit: bool = False


class Ownership(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of one anonymous id. `points` ascend by (timestamp, message id). `users` are its distinct users,
    the smallest by code point first, one more at most than makes the id shared."""

    points: tuple[Point, ...] = ()
    users: tuple[str, ...] = ()


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Ownership).decode

NOBODY: Final = Ownership()


def with_fact(state: Ownership, fact: LinkFact, max_users: int) -> Ownership:
    """The state with one more fact; the very same object where the fact changes nothing."""
    users = _with_user(state.users, fact.user_id, max_users)
    points = _with_point(state.points, _point(fact))
    if users is state.users and points is state.points:
        return state
    return Ownership(points, users)


def owner_at(state: Ownership, timestamp: float, message_id: str, max_users: int) -> str | None:
    """The user who did an anonymous event at that moment, or None.

    The last point at or before it decides if it is a user; otherwise the next point does, if it is one.
    """
    if len(state.users) > max_users:
        return None
    after = bisect_right(state.points, (timestamp, message_id), key=_moment)
    before = state.points[after - 1].user_id if after else None
    if before is not None or after == len(state.points):
        return before
    return state.points[after].user_id


def _point(fact: LinkFact) -> Point:
    return Point(fact.timestamp, fact.message_id, fact.user_id, fact.kind is LinkKind.IMPLICIT)


def _with_user(users: tuple[str, ...], user_id: str | None, max_users: int) -> tuple[str, ...]:
    if user_id is None or user_id in users:
        return users
    kept = tuple(sorted((*users, user_id))[: max_users + 1])
    return users if kept == users else kept


def _with_point(points: tuple[Point, ...], point: Point) -> tuple[Point, ...]:
    if not points:
        return (point,)
    moment = _moment(point)
    if any(_moment(known) == moment for known in points):
        return points
    if not point.implicit:
        return _bounded(points, point)
    rival = next((known for known in points if _same_bucket(known, point)), None)
    if rival is None:
        return _bounded(points, point)
    if _moment(rival) < moment:
        return points
    return _bounded(tuple(known for known in points if known is not rival), point)


def _bounded(points: tuple[Point, ...], point: Point) -> tuple[Point, ...]:
    grown = list(points)
    insort(grown, point, key=_moment)
    if len(grown) > 2 * KEPT_AT_EACH_END:
        dropped = grown.pop(KEPT_AT_EACH_END)
        if dropped is point:
            return points
    return tuple(grown)


def _moment(point: Point) -> tuple[float, str]:
    return point.timestamp, point.message_id


def _same_bucket(known: Point, point: Point) -> bool:
    return (
        known.implicit
        and known.user_id == point.user_id
        and known.timestamp // IMPLICIT_BUCKET_S == point.timestamp // IMPLICIT_BUCKET_S
    )
