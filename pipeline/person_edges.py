"""The edges between the users of one project that count, as the facts put so far make them.

An edge is active while it was last asserted after it was last taken back; of several active aliases of one user only
the one first asserted earliest counts. The order in which facts are put does not matter, and a fact can be taken out.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from typing import TypeAlias

from topics.edges import EdgeAction, EdgeFact, EdgeKind

Moment: TypeAlias = tuple[float, str]
"""(timestamp, message id): the order of events."""


class _Edge:
    """What is known of one edge. `first` and `last` are when it was asserted, `parted` when it was last taken back."""

    __slots__ = ("facts", "first", "last", "parted")

    def __init__(self) -> None:
        self.facts: list[EdgeFact] = []
        self.first: Moment | None = None
        self.last: Moment | None = None
        self.parted: Moment | None = None

    @property
    def is_active(self) -> bool:
        return self.last is not None and (self.parted is None or self.last > self.parted)

    def put(self, fact: EdgeFact) -> None:
        moment = _moment(fact)
        self.facts.append(fact)
        if fact.action is EdgeAction.PART:
            self.parted = moment if self.parted is None else max(self.parted, moment)
        else:
            self.first = moment if self.first is None else min(self.first, moment)
            self.last = moment if self.last is None else max(self.last, moment)

    def take(self, fact: EdgeFact) -> None:
        if fact is self.facts[-1]:
            self.facts.pop()
        else:
            self.facts.remove(fact)
        if _moment(fact) in (self.first, self.last, self.parted):
            self._summarise()

    def _summarise(self) -> None:
        joined = [_moment(fact) for fact in self.facts if fact.action is EdgeAction.JOIN]
        self.first = min(joined, default=None)
        self.last = max(joined, default=None)
        self.parted = max((_moment(fact) for fact in self.facts if fact.action is EdgeAction.PART), default=None)


Change: TypeAlias = Callable[[_Edge, EdgeFact], None]


class Edges:
    """A fact costs the same however many edges its users have; only where the alias that counted ends are the others
    of that user looked through."""

    def __init__(self) -> None:
        self._merges: dict[tuple[str, str], _Edge] = {}
        self._aliases: defaultdict[str, dict[str, _Edge]] = defaultdict(dict)
        self._counting: dict[str, str] = {}
        self._neighbours: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._facts_of: Counter[str] = Counter()

    def put(self, fact: EdgeFact) -> set[str]:
        """Add a fact; the users whose counting edges it changed."""
        _count(self._facts_of, (fact.from_user_id, fact.to_user_id), 1)
        return self._changed(fact, _Edge.put)

    def take(self, fact: EdgeFact) -> set[str]:
        """Take out a fact that was put; the users whose counting edges that changed."""
        _count(self._facts_of, (fact.from_user_id, fact.to_user_id), -1)
        return self._changed(fact, _Edge.take)

    def knows(self, user_id: str) -> bool:
        """Whether any fact names the user, counting or not."""
        return user_id in self._facts_of

    def component(self, user_id: str, at_most: int) -> set[str] | None:
        """All users tied to this one by edges that count, itself among them; None where they are more."""
        found, waiting = {user_id}, [user_id]
        while waiting:
            for neighbour in self._neighbours.get(waiting.pop(), ()):
                if neighbour not in found:
                    found.add(neighbour)
                    waiting.append(neighbour)
                    if len(found) > at_most:
                        return None
        return found

    def canonical(self, component: Collection[str]) -> str:
        """The user that a component is called by: the one without an alias; of several, or in a cycle, the smallest
        (by code point, which is the order of UTF-8 bytes)."""
        return min([user_id for user_id in component if user_id not in self._counting] or component)

    def _changed(self, fact: EdgeFact, change: Change) -> set[str]:
        by_kind = self._merge_changed if fact.kind is EdgeKind.MERGE else self._alias_changed
        return by_kind(fact, change)

    def _merge_changed(self, fact: EdgeFact, change: Change) -> set[str]:
        pair = fact.from_user_id, fact.to_user_id
        edge = self._merges.setdefault(pair, _Edge())
        was_active = edge.is_active
        change(edge, fact)
        if not edge.facts:
            del self._merges[pair]
        if edge.is_active == was_active:
            return set()
        self._tie(*pair, 1 if edge.is_active else -1)
        return set(pair)

    def _alias_changed(self, fact: EdgeFact, change: Change) -> set[str]:
        user_id, targets = fact.from_user_id, self._aliases[fact.from_user_id]
        edge = targets.setdefault(fact.to_user_id, _Edge())
        was_first = edge.first
        change(edge, fact)
        if not edge.facts:
            del targets[fact.to_user_id]
        before = self._counting.get(user_id)
        if before == fact.to_user_id and edge.is_active and edge.first == was_first:
            return set()
        after = _counting(targets, before, fact.to_user_id)
        return self._recounted(user_id, before, after) if before != after else set()

    def _recounted(self, user_id: str, before: str | None, after: str | None) -> set[str]:
        if before is not None:
            del self._counting[user_id]
            self._tie(user_id, before, -1)
        if after is not None:
            self._counting[user_id] = after
            self._tie(user_id, after, 1)
        return {user_id, *(target for target in (before, after) if target is not None)}

    def _tie(self, one: str, other: str, by: int) -> None:
        _count(self._neighbours[one], (other,), by)
        _count(self._neighbours[other], (one,), by)


def _counting(targets: dict[str, _Edge], before: str | None, changed: str) -> str | None:
    """Of one user's aliases the target of the one that counts, where only the edge to `changed` is not as before."""
    edge = targets.get(changed)
    if before == changed:
        return min(
            (to for to, each in targets.items() if each.is_active), key=lambda to: _first(targets[to]), default=None
        )
    if edge is None or not edge.is_active:
        return before
    return changed if before is None or _first(edge) < _first(targets[before]) else before


def _first(edge: _Edge) -> Moment:
    assert edge.first is not None, "an active edge was asserted"
    return edge.first


def _moment(fact: EdgeFact) -> Moment:
    return fact.timestamp, fact.message_id


def _count(counter: Counter[str], keys: Collection[str], by: int) -> None:
    """Counts up or down; what is at zero is not there."""
    for key in keys:
        counter[key] += by
        if not counter[key]:
            del counter[key]
