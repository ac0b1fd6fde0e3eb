"""The identity table as one batch sees it: what is stored, and over it what the batch's own events say.

Asking is what costs, so facts of an anonymous id are taken in together, and only when somebody asks for what they may
have changed. That is told from the facts alone, so the answers are those of one fact after another.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from pipeline import identity, owner_rows
from pipeline.identity import Ownership, Point
from pipeline.rules import ProjectRules, Rules
from topics.keys import anonymous_key
from topics.links import LinkFact
from topics.orders import Correct, Forget


class Owners:
    """Of all projects. Nothing that is passed in is changed."""

    def __init__(self, stored: Mapping[bytes, bytes], rules: Rules) -> None:
        self._stored = stored
        self._rules = rules
        self._projects: dict[str, ProjectOwners] = {}

    def of(self, project_id: str) -> "ProjectOwners":
        project = self._projects.get(project_id)
        if project is None:
            project = self._projects[project_id] = ProjectOwners(project_id, self._stored, self._rules.of(project_id))
        return project

    def changed(self) -> dict[bytes, bytes | None]:
        """The table's rows that are other than before, None where one goes."""
        return {key: row for project in self._projects.values() for key, row in project.changed().items()}


class ProjectOwners:
    """Of one project, by anonymous id."""

    def __init__(self, project_id: str, stored: Mapping[bytes, bytes], rules: ProjectRules) -> None:
        self.rules: Final = rules
        self.always: Final[dict[str, str | UnsetType | None]] = {}
        """As `identity.owner_always` says now, of ids that were asked for."""
        self._project_id = project_id
        self._stored = stored
        self._states: dict[str, _State] = {}
        self._rows: dict[str, bytes] = {}  # of ids without a state, where other than stored

    def owner_at(self, anonymous_id: str, timestamp: float, message_id: str) -> str | None:
        """Who did an anonymous event of that moment, as far as is known."""
        if anonymous_id not in self.always:
            self.always[anonymous_id] = self._owner_always(anonymous_id)
        owner = self.always[anonymous_id]
        if owner is not UNSET:
            return owner
        state, rules = self._now(anonymous_id), self.rules
        return identity.owner_at(state, timestamp, message_id, rules.max_users, rules.policy)

    def row_of(self, anonymous_id: str) -> bytes | UnsetType | None:
        """Its row in the table as of now; UNSET where it would have to be made, as more may have been told."""
        if anonymous_id in self._states:
            return UNSET
        return self._rows.get(anonymous_id) or self._stored.get(anonymous_key(self._project_id, anonymous_id))

    def put_row(self, anonymous_id: str, row: bytes) -> None:
        """What the row that `row_of` returned becomes."""
        self._rows[anonymous_id] = row
        self.always.pop(anonymous_id, None)

    def already_merged(self, fact: LinkFact) -> bool:
        return identity.already_merged(self._now(fact.anonymous_id), fact)

    def learn(self, fact: LinkFact) -> None:
        self.learn_points(fact.anonymous_id, [identity.point_of(fact)])

    def learn_points(self, anonymous_id: str, points: Sequence[Point]) -> None:
        """As `learn`, of the points that facts of one anonymous id become."""
        self._of(anonymous_id).learnt.extend(points)
        user_id = self.always.get(anonymous_id)
        if user_id is None or not all(point.user_id == user_id and not point.only_first for point in points):
            self.always.pop(anonymous_id, None)

    def forget(self, forget: Forget) -> None:
        self._replace(forget.anonymous_id, identity.without_users(self._now(forget.anonymous_id), forget.user_ids))

    def correct(self, correction: Correct) -> None:
        anonymous_id, of = correction.anonymous_id, correction
        after = identity.corrected(self._now(anonymous_id), of.without, of.facts, self.rules.max_users)
        self._replace(anonymous_id, after)

    def changed(self) -> dict[bytes, bytes | None]:
        changed: dict[bytes, bytes | None] = {
            anonymous_key(self._project_id, anonymous_id): row for anonymous_id, row in self._rows.items()
        }
        return changed | {
            state.key: owner_rows.encode(after) if after.points else None
            for state in self._states.values()
            if (after := self._taken_in(state)) is not state.before
        }

    def _owner_always(self, anonymous_id: str) -> str | UnsetType | None:
        state = self._known(anonymous_id)
        return None if state is None else identity.owner_always(self._taken_in(state), self.rules.max_users)

    def _now(self, anonymous_id: str) -> Ownership:
        return self._taken_in(self._of(anonymous_id))

    def _taken_in(self, state: "_State") -> Ownership:
        if state.learnt:
            state.now = identity.with_points(state.now, state.learnt, self.rules.max_users)
            state.learnt = []
        return state.now

    def _replace(self, anonymous_id: str, after: Ownership) -> None:
        self._of(anonymous_id).now = after
        self.always.pop(anonymous_id, None)

    def _of(self, anonymous_id: str) -> "_State":
        state = self._known(anonymous_id)
        if state is None:
            key = anonymous_key(self._project_id, anonymous_id)
            state = self._states[anonymous_id] = _State(key, identity.NOBODY, identity.NOBODY)
        return state

    def _known(self, anonymous_id: str) -> "_State | None":
        """None where nobody has said who it is, as of most."""
        state = self._states.get(anonymous_id)
        if state is None:
            key = anonymous_key(self._project_id, anonymous_id)
            stored = self._stored.get(key)
            if row := self._rows.pop(anonymous_id, stored):
                before = owner_rows.decode(stored) if stored else identity.NOBODY
                now = before if row is stored else owner_rows.decode(row)
                state = self._states[anonymous_id] = _State(key, before, now)
        return state


class _State(msgspec.Struct, gc=False):
    """What is known of an anonymous id: `before` as in the table, under its key there, `now` with what was taken in,
    and `learnt` what was not yet. A struct, as an object of a class takes twice as long to be made."""

    key: bytes
    before: Ownership
    now: Ownership
    learnt: list[Point] = msgspec.field(default_factory=list)
