"""Level 2 of identity: which users of a project are one person, as a step function over received time.

Arrives: edge facts of one project, in any order. Leaves: steps: from `since` on a user is that person, as far as the
messages received by then tell. The steps are a function of the set of facts: a fact received earlier than others that
are known takes these back, and puts them again behind it.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

from pipeline.person_edges import Edges
from topics.edges import EdgeFact, encode, record_key
from topics.persons import PersonStep, Standing


class Place(NamedTuple):
    """Where a user stands: in whose person, and by which message's doing."""

    canonical_user_id: str
    standing: Standing
    message_id: str


@dataclass(frozen=True, slots=True)
class _Applied:
    """A fact that counts, and what the users whose place it changed had before it."""

    fact: EdgeFact
    before: dict[str, Place]


class PersonGraph:
    """The users of one project. A fact whose component is too large costs no more than one that is not. `given` are
    steps that were made known before, by users and `since`: the first `apply` gives them all again."""

    def __init__(self, project_id: str, max_users: int, given: Iterable[tuple[str, float]] = ()) -> None:
        self.project_id: Final = project_id
        self.max_users: Final = max_users
        self._edges = Edges()
        self._facts: dict[str, EdgeFact] = {}
        self._is_new = True
        self._applied: list[_Applied] = []
        self._given = _StepsGiven(given)
        self._places: dict[str, Place] = {}
        self._members: defaultdict[str, set[str]] = defaultdict(set)

    @property
    def facts(self) -> Collection[EdgeFact]:
        return self._facts.values()

    def knows(self, user_id: str) -> bool:
        """Whether any fact names the user."""
        return self._edges.knows(user_id)

    def members(self, user_id: str) -> tuple[str, ...]:
        """All users of this user's person as of now, in order."""
        return tuple(sorted(self._members.get(self._place(user_id).canonical_user_id, {user_id})))

    def apply(
        self, joined: Iterable[EdgeFact], forgotten: Collection[bytes] = ()
    ) -> dict[tuple[str, float], PersonStep]:
        """Take those with a record key among `forgotten` out, and then facts in. Returns every step, by user and
        `since`, that may be another than before."""
        added, removed = self._news(joined, forgotten)
        if not (added or removed or self._is_new):
            return {}
        since = -inf if self._is_new else min(fact.received_at for fact in (*added, *removed))
        self._is_new = False
        facts = _by_receipt([fact for fact in self._undo(since) if fact not in removed], added)
        steps: dict[tuple[str, float], PersonStep] = {}
        for moment in sorted({*facts, *self._given.moments_from(since)}):
            changed = set().union(*map(self._put, facts.get(moment, ())))
            for user_id in self._given.with_further(moment, changed):
                steps[user_id, moment] = self._step(user_id, moment)
        return steps

    def _news(self, joined: Iterable[EdgeFact], forgotten: Collection[bytes]) -> tuple[list[EdgeFact], set[EdgeFact]]:
        """Facts to add and to remove. What a message says counts once, as it was first received."""
        removed = {fact for fact in self._facts.values() if record_key(fact) in forgotten} if forgotten else set()
        for fact in removed:
            del self._facts[fact.message_id]
        added: dict[str, EdgeFact] = {}
        for fact in joined:
            known = added.get(fact.message_id) or self._facts.get(fact.message_id)
            if known is None or _precedence(fact) < _precedence(known):
                added[fact.message_id] = fact
        removed |= {self._facts[message_id] for message_id in added.keys() & self._facts.keys()}
        self._facts |= added
        return [*added.values()], removed

    def _undo(self, since: float) -> list[EdgeFact]:
        """Take back the facts received at `since` or later."""
        undone = []
        while self._applied and self._applied[-1].fact.received_at >= since:
            applied = self._applied.pop()
            self._edges.take(applied.fact)
            for user_id, place in applied.before.items():
                self._move(user_id, place)
            undone.append(applied.fact)
        return undone

    def _put(self, fact: EdgeFact) -> set[str]:
        """Add one fact behind all others; the users whose place it changed."""
        places = self._places_after(fact)
        before = {user_id: self._place(user_id) for user_id in places}
        for user_id, place in places.items():
            self._move(user_id, place)
        self._applied.append(_Applied(fact, before))
        return set(places)

    def _places_after(self, fact: EdgeFact) -> dict[str, Place]:
        """The places that the fact changes, as they are with it."""
        ends = self._edges.put(fact)
        after: dict[str, Place] = {}
        for end in ends:
            if end not in after:
                after |= self._places_in(self._edges.component(end, self.max_users), end, fact.message_id)
        for end in ends:
            # Whoever was with it, and is in none of the components now, is in one that is too large.
            for user_id in self._members.get(self._place(end).canonical_user_id, ()):
                after.setdefault(user_id, Place(user_id, Standing.SUSPENDED, fact.message_id))
        return {user_id: place for user_id, place in after.items() if place[:2] != self._place(user_id)[:2]}

    def _places_in(self, component: set[str] | None, end: str, message_id: str) -> dict[str, Place]:
        if component is None:
            return {end: Place(end, Standing.SUSPENDED, message_id)}
        canonical = self._edges.canonical(component)
        standing = Standing.JOINED if len(component) > 1 else Standing.ALONE
        return {user_id: Place(canonical, standing, message_id) for user_id in component}

    def _place(self, user_id: str) -> Place:
        return self._places.get(user_id) or Place(user_id, Standing.ALONE, "")

    def _move(self, user_id: str, place: Place) -> None:
        before = self._place(user_id).canonical_user_id
        self._members[before].discard(user_id)
        if not self._members[before]:
            del self._members[before]
        self._members[place.canonical_user_id].add(user_id)
        self._places[user_id] = place

    def _step(self, user_id: str, since: float) -> PersonStep:
        place = self._place(user_id)
        return PersonStep(
            project_id=self.project_id,
            user_id=user_id,
            since=since,
            canonical_user_id=place.canonical_user_id,
            standing=place.standing,
            message_id=place.message_id,
        )


class _StepsGiven:
    """Which users have had a step when: once given, a step must be given again where it becomes another."""

    def __init__(self, given: Iterable[tuple[str, float]]) -> None:
        self._users: defaultdict[float, set[str]] = defaultdict(set)
        for user_id, since in given:
            self._users[since].add(user_id)
        self._moments = sorted(self._users)

    def moments_from(self, since: float) -> list[float]:
        return self._moments[bisect_left(self._moments, since) :]

    def with_further(self, moment: float, users: set[str]) -> set[str]:
        """All users that have a step at that moment, these among them."""
        if users and moment not in self._users:
            insort(self._moments, moment)
        if users:
            self._users[moment] |= users
        return self._users.get(moment, users)


def _by_receipt(undone: Iterable[EdgeFact], added: Iterable[EdgeFact]) -> dict[float, list[EdgeFact]]:
    facts: defaultdict[float, list[EdgeFact]] = defaultdict(list)
    for fact in sorted((*undone, *added), key=lambda each: (each.received_at, each.timestamp, each.message_id)):
        facts[fact.received_at].append(fact)
    return facts


def _precedence(fact: EdgeFact) -> tuple[float, bytes]:
    """The earliest receipt first; of two at once always the same one."""
    return fact.received_at, encode(fact)
