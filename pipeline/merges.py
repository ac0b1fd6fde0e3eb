"""The merge agent's decision: edge facts of one partition in; person steps, and changes for consumers, out.

What is published already is the other half of the state: only what differs from it is published, so a restart, another
worker that wrote in between, or a changed limit all come to the same, and a repeated record comes to nothing.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from pipeline.person import person_id
from pipeline.person_graph import PersonGraph
from pipeline.rules import Rules
from topics import edges, persons
from topics.edges import EdgeFact
from topics.persons import PersonChange, PersonStep, Standing
from topics.records import UNREADABLE, RawRecord, Record

logger = logging.getLogger(__name__)

T = TypeVar("T")
Steps: TypeAlias = dict[float, PersonStep]
"""A user's steps by `since`."""
Place: TypeAlias = tuple[str, Standing]
"""Whose person a user is, and how."""


@dataclass(slots=True)
class MergeDecision:
    """What is to be published: `changes` first, for what is in `steps` counts as told. `published` is what to remember
    once both are durable, by project and user; a user to be forgotten has no steps."""

    changes: list[Record] = field(default_factory=list)
    steps: list[Record] = field(default_factory=list)
    published: list[tuple[str, str, Steps]] = field(default_factory=list)


class Merges:
    """The projects of one partition of `identity.merges`. `position` is the end of the partition of `identity.persons`
    when that was read, and since then of what this state has added to it."""

    def __init__(self, published: Iterable[RawRecord] = (), position: int = 0, told: Iterable[RawRecord] = ()) -> None:
        """`published` is all that the partition of `identity.persons` holds, and `told` all that the one of
        `identity.changes` does. What of them cannot be read was written by nobody of ours, and is passed over."""
        self.position = position
        self._told: defaultdict[str, dict[str, PersonChange]] = defaultdict(dict)
        for change in _readable(told, persons.decode_change):
            if change.version >= position:  # it was told, and its steps were not published
                self._told[change.project_id][change.user_id] = change
        self._facts: defaultdict[str, dict[bytes, EdgeFact]] = defaultdict(dict)
        self._forgotten: defaultdict[str, set[bytes]] = defaultdict(set)
        self._graphs: dict[str, PersonGraph] = {}
        self._published: defaultdict[str, dict[str, Steps]] = defaultdict(dict)
        latest = {record.key: record for record in published}
        for step in _readable(latest.values(), persons.decode_step):
            self._published[step.project_id].setdefault(step.user_id, {})[step.since] = step

    def learn(self, records: Iterable[RawRecord]) -> None:
        """Note facts for the next decision."""
        for record in records:
            try:
                self._note(record)
            except UNREADABLE as error:
                _pass_over(record, error)

    def decide(self, records: Sequence[RawRecord], rules: Rules) -> MergeDecision:
        """Learn the facts of these records too, and say what of all that differs from what is published. Where that
        cannot be published, the state is of no more use."""
        self.learn(records)
        decision = MergeDecision()
        for project_id in sorted({*self._facts, *self._forgotten, *self._stale(rules)}):
            graph, known = self._graph(project_id, rules)
            facts, forgotten = self._facts.pop(project_id, {}), self._forgotten.pop(project_id, ())
            steps = graph.apply([*known, *facts.values()], forgotten)
            self._compare(graph, steps.values(), records[-1].timestamp, decision)
        return decision

    def remember(self, decision: MergeDecision) -> None:
        """Note that the decision is published."""
        for project_id, user_id, steps in decision.published:
            self._published[project_id][user_id] = steps
            if not steps:
                del self._published[project_id][user_id]
        self.position += len(decision.steps)

    def _note(self, record: RawRecord) -> None:
        """Of several records of one key the last counts, as after the topic was compacted."""
        if record.value is not None:
            fact = edges.decode(record.value)
            self._facts[fact.project_id][edges.record_key(fact)] = fact
        elif record.key is not None:
            project_id = edges.project_of(record.key)
            self._facts[project_id].pop(record.key, None)
            self._forgotten[project_id].add(record.key)

    def _stale(self, rules: Rules) -> set[str]:
        """Projects to look at anew: published or told by an earlier run, or under another limit."""
        changed = {
            project_id
            for project_id, graph in self._graphs.items()
            if graph.max_users != rules.of(project_id).max_users_per_person
        }
        return changed | self._told.keys() | (self._published.keys() - self._graphs.keys())

    def _graph(self, project_id: str, rules: Rules) -> tuple[PersonGraph, Iterable[EdgeFact]]:
        """The project's graph, and facts that it does not have yet, where it had to be made anew."""
        limit = rules.of(project_id).max_users_per_person
        known = self._graphs.get(project_id)
        if known is not None and known.max_users == limit:
            return known, ()
        given = [(user_id, since) for user_id, steps in self._published[project_id].items() for since in steps]
        graph = self._graphs[project_id] = PersonGraph(project_id, limit, given)
        return graph, known.facts if known else ()

    def _compare(self, graph: PersonGraph, wanted: Iterable[PersonStep], at_ms: int, decision: MergeDecision) -> None:
        """Add to the decision what differs from what is published."""
        by_user: defaultdict[str, Steps] = defaultdict(dict)
        for step in wanted:
            by_user[step.user_id][step.since] = step
        told = self._told.pop(graph.project_id, {})
        for user_id in sorted(by_user.keys() | told.keys()):
            before = self._published[graph.project_id].get(user_id, {})
            after = {**before, **by_user[user_id]} if graph.knows(user_id) else {}
            known = _place(told[user_id]) if user_id in told else _place(_current(graph, user_id, before))
            version = self.position + len(decision.steps)
            change = _change(graph, user_id, known, after, version)
            if change is not None:
                decision.changes.append(_change_record(change, at_ms))
            if after != before:
                decision.steps.extend(_step_records(graph.project_id, user_id, before, after, at_ms))
                decision.published.append((graph.project_id, user_id, after))


def _readable(records: Iterable[RawRecord], decode: Callable[[bytes], T]) -> Iterable[T]:
    """The records' values, without tombstones."""
    for record in records:
        try:
            if record.value is not None:
                yield decode(record.value)
        except UNREADABLE as error:
            _pass_over(record, error)


def _pass_over(record: RawRecord, error: Exception) -> None:
    logger.warning("%s %d@%d cannot be read: %s", record.topic, record.partition, record.offset, error)


def _change(graph: PersonGraph, user_id: str, known: Place, after: Steps, version: int) -> PersonChange | None:
    """What a consumer is told: None where the user stands as is known, and only the past is another."""
    new = _current(graph, user_id, after)
    if known == _place(new):
        return None
    return PersonChange(
        project_id=graph.project_id,
        user_id=user_id,
        old_user_id=known[0],
        new_user_id=new.canonical_user_id,
        old_person_id=str(person_id(graph.project_id, known[0], None)),
        new_person_id=str(person_id(graph.project_id, new.canonical_user_id, None)),
        members=graph.members(user_id),
        standing=new.standing,
        message_id=new.message_id,
        received_at=new.since,
        version=version,
    )


def _current(graph: PersonGraph, user_id: str, steps: Steps) -> PersonStep:
    if steps:
        return steps[max(steps)]
    return PersonStep(graph.project_id, user_id, 0.0, user_id, Standing.ALONE, "")


def _place(known: PersonStep | PersonChange) -> Place:
    if isinstance(known, PersonChange):
        return known.new_user_id, known.standing
    return known.canonical_user_id, known.standing


def _change_record(change: PersonChange, at_ms: int) -> Record:
    return persons.user_key(change.project_id, change.user_id), persons.encode(change), at_ms, ()


def _step_records(project_id: str, user_id: str, before: Steps, after: Steps, at_ms: int) -> Iterable[Record]:
    for since in sorted(before.keys() | after.keys()):
        if before.get(since) != after.get(since):
            value = persons.encode(after[since]) if since in after else None
            yield persons.step_key(project_id, user_id, since), value, at_ms, ()
