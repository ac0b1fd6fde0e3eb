"""Level 1 of identity: who owns an anonymous id over event time, as state that does not depend on order of arrival.

Facts arrive one at a time, in any order and repeatedly; `Ownership` is what is kept of them for one anonymous id, and
`owner_at` says who did an anonymous event. The state is bounded, so it serves the value written with the event; the
store keeps every fact and resolves history from all of them.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from typing import Final, assert_never

import msgspec
from msgspec import UNSET, UnsetType

from topics.control import Policy
from topics.links import FIRST, IMPLICIT, LinkFact

IMPLICIT_BUCKET_S: Final = 1800
KEPT_AT_EACH_END: Final = 8


class Point(msgspec.Struct, frozen=True, array_like=True, order=True, gc=False):
    """From `(timestamp, message_id)` on, `user_id` owns the anonymous id, or nobody does (None: a reset). A point that
    is `only_first` counts where no other user's is before it."""

    timestamp: float
    message_id: str
    user_id: str | None
    implicit: bool = False
    only_first: bool = False


class Ownership(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of one anonymous id. `points` ascend by (timestamp, message id). `users` are its distinct users but
    for those of `only_first` points, the smallest by code point first, one more at most than makes the id shared."""

    points: tuple[Point, ...] = ()
    users: tuple[str, ...] = ()


NOBODY: Final = Ownership()


def with_facts(state: Ownership, facts: Iterable[LinkFact], max_users: int) -> Ownership:
    """As `with_points`, of facts of this id."""
    return with_points(state, [point_of(fact) for fact in facts], max_users)


def point_of(fact: LinkFact) -> Point:
    return Point(fact.timestamp, fact.message_id, fact.user_id, fact.kind is IMPLICIT, fact.kind is FIRST)


def with_points(state: Ownership, learnt: Sequence[Point], max_users: int) -> Ownership:
    """The state with these points too, in whatever order and pieces they come; the very same object where they change
    nothing."""
    users, points = state.users, _together(state.points, learnt)
    for point in learnt:
        if point.user_id not in users and not point.only_first:
            users = _with_user(users, point.user_id, max_users)
    if users is state.users and len(points) == len(state.points):
        return state
    kept = _bounded(points)
    return state if users is state.users and kept == state.points else Ownership(kept, users)


def without_users(state: Ownership, forgotten: Collection[str]) -> Ownership:
    """The state without what it holds of these users; NOBODY where no other user is left."""
    points = tuple(point for point in state.points if point.user_id not in forgotten)
    if not _users(points):
        return NOBODY
    return Ownership(points, tuple(user_id for user_id in state.users if user_id not in forgotten))


def corrected(
    state: Ownership, without: Collection[tuple[float, str]], facts: Iterable[LinkFact], max_users: int
) -> Ownership:
    """The state without the points at these moments, and with these facts."""
    kept = tuple(point for point in state.points if _moment(point) not in without)
    gone = {*_users(state.points)} - {*_users(kept)}
    state = Ownership(kept, tuple(user_id for user_id in state.users if user_id not in gone)) if kept else NOBODY
    return with_facts(state, facts, max_users)


def owner_always(state: Ownership, max_users: int) -> str | UnsetType | None:
    """Who did any anonymous event, whenever it was and by whatever policy; UNSET where `owner_at` must be asked."""
    if not state.points:
        return None
    if len(state.users) >= max_users:
        return UNSET
    owner = state.points[-1].user_id
    is_alone = len(state.points) == 1 or (state.users == (owner,) and _are_all_of(owner, state.points))
    return owner if is_alone else UNSET


def owner_at(
    state: Ownership, timestamp: float, message_id: str, max_users: int, policy: Policy = "interval"
) -> str | None:
    """The user who did an anonymous event at that moment, or None. There is a point at least.

    Resets cut time into segments, and the policy says which of its segment's users an event belongs to. By `interval`
    it is the last one before the event, else the first one after it.
    """
    last = state.points[-1]
    if policy == "interval" and len(state.users) < max_users and _decides(last, timestamp, message_id):
        return last.user_id
    points = _counting(state.points)
    if len({*state.users, *_users(points)}) > max_users:
        return None
    after = bisect_right(points, (timestamp, message_id), key=_moment)
    start = next((at for at in range(after, 0, -1) if points[at - 1].user_id is None), 0)
    end = next((at for at in range(after, len(points)) if points[at].user_id is None), len(points))
    users = _users(points[start:end])
    if not users:
        return None
    match policy:
        case "interval":
            return users[max(after - start - 1, 0)]
        case "first_wins":
            return users[0]
        case "last_wins":
            return users[-1]
        case "isolate":
            return users[0] if len({*users}) == 1 else None
        case _:
            assert_never(policy)


def already_merged(state: Ownership, fact: LinkFact) -> bool:
    """Whether a `first` fact comes too late: an earlier one gave the anonymous id to another user."""
    first = next((point for point in state.points if point.user_id is not None), None)
    return first is not None and first.user_id != fact.user_id and _moment(first) < (fact.timestamp, fact.message_id)


def _decides(last: Point, timestamp: float, message_id: str) -> bool:
    """Whether the last point of all, a user's, is before an event, as it mostly is: then no other need be looked at."""
    if last.user_id is None or last.only_first:
        return False
    return last.timestamp < timestamp or (last.timestamp == timestamp and last.message_id <= message_id)


def _counting(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Without the points that are not the first with a user, as they would have to be."""
    if not any(point.only_first for point in points):
        return points
    first = next(point for point in points if point.user_id is not None)
    return tuple(point for point in points if point is first or not point.only_first)


def _users(points: tuple[Point, ...]) -> list[str]:
    return [point.user_id for point in points if point.user_id is not None]


def _together(points: tuple[Point, ...], learnt: Sequence[Point]) -> list[Point]:
    """In order, and of each moment the first that came."""
    if _ascend([*points[-1:], *learnt]):  # as they mostly do
        return [*points, *learnt]
    by_moment = {_moment(point): point for point in points}
    for point in learnt:
        by_moment.setdefault(_moment(point), point)
    return [by_moment[moment] for moment in sorted(by_moment)]


def _ascend(points: list[Point]) -> bool:
    return all(map(_is_before, points, points[1:]))


def _is_before(one: Point, other: Point) -> bool:
    if one.timestamp != other.timestamp:
        return one.timestamp < other.timestamp
    return one.message_id < other.message_id


def _with_user(users: tuple[str, ...], user_id: str | None, max_users: int) -> tuple[str, ...]:
    """With one that is not among them."""
    if user_id is None:
        return users
    if not users:
        return (user_id,)
    kept = tuple(sorted((*users, user_id))[: max_users + 1])
    return users if kept == users else kept


def _bounded(points: list[Point]) -> tuple[Point, ...]:
    """The earliest points and the latest. Of the implicit ones of one user and bucket the earliest stands for all; and
    among the latest it stands by its bucket, not by its moment: an earlier fact of the bucket moves the one, and a
    point that it moved out could not be had again."""
    if not _any_implicit(points):
        few = len(points) <= 2 * KEPT_AT_EACH_END
        return tuple(points) if few else (*points[:KEPT_AT_EACH_END], *points[-KEPT_AT_EACH_END:])
    points = _earliest_of_each_bucket(points)
    latest = {id(point) for point in sorted(points, key=_rank)[-KEPT_AT_EACH_END:]}
    return tuple(point for at, point in enumerate(points) if at < KEPT_AT_EACH_END or id(point) in latest)


def _earliest_of_each_bucket(points: list[Point]) -> list[Point]:
    earliest: dict[tuple[str | None, float], Point] = {}
    for point in points:
        if point.implicit:
            earliest.setdefault((point.user_id, _bucket(point)), point)
    return [point for point in points if not point.implicit or earliest[point.user_id, _bucket(point)] is point]


def _are_all_of(user_id: str | None, points: Sequence[Point]) -> bool:
    for point in points:  # noqa: SIM110  # as `_any_implicit`
        if point.user_id != user_id:
            return False
    return True


def _any_implicit(points: Sequence[Point]) -> bool:
    for point in points:  # noqa: SIM110  # `any` takes more than twice as many instructions
        if point.implicit:
            return True
    return False


def _rank(point: Point) -> tuple[float, str]:
    if point.implicit:
        return _bucket(point) * IMPLICIT_BUCKET_S, f"\0{point.user_id}"
    return _moment(point)


def _bucket(point: Point) -> float:
    return point.timestamp // IMPLICIT_BUCKET_S


def _moment(point: Point) -> tuple[float, str]:
    return point.timestamp, point.message_id
