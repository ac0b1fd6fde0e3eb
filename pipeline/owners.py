"""The identity table as one batch sees it: what is stored, and over it what the batch's own events say.

Asking is what costs, so facts of an anonymous id are taken in together, and only when somebody asks for what they may
have changed. That is told from the facts alone, so the answers are those of one fact after another.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from pipeline import identity
from pipeline.identity import Ownership
from pipeline.rules import ProjectRules, Rules
from topics.keys import anonymous_key
from topics.links import FIRST, LinkFact
from topics.orders import Correct, Forget
from topics.stitched import Event


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
        self._project_id = project_id
        self._stored = stored
        self._ids: dict[str, _AnonymousId] = {}

    def owner_at(self, anonymous_id: str, event: Event) -> str | None:
        """Who did an anonymous event, as far as is known."""
        known = self._ids.get(anonymous_id) or self._of(anonymous_id)
        if known.always is _NOT_ASKED:
            known.always = identity.owner_always(known.state(self.rules), self.rules.max_users)
        if known.always is not UNSET:
            return known.always
        state, rules = known.state(self.rules), self.rules
        return identity.owner_at(state, event.timestamp, event.message_id, rules.max_users, rules.policy)

    def already_merged(self, fact: LinkFact) -> bool:
        return identity.already_merged(self._of(fact.anonymous_id).state(self.rules), fact)

    def learn(self, fact: LinkFact) -> None:
        self._of(fact.anonymous_id).learn(fact)

    def forget(self, forget: Forget) -> None:
        known = self._of(forget.anonymous_id)
        known.replace(identity.without_users(known.state(self.rules), forget.user_ids))

    def correct(self, correction: Correct) -> None:
        known, of = self._of(correction.anonymous_id), correction
        known.replace(identity.corrected(known.state(self.rules), of.without, of.facts, self.rules.max_users))

    def changed(self) -> dict[bytes, bytes | None]:
        return {
            anonymous_key(self._project_id, anonymous_id): identity.encode(after) if after.points else None
            for anonymous_id, known in self._ids.items()
            if (after := known.state(self.rules)) is not known.before
        }

    def _of(self, anonymous_id: str) -> "_AnonymousId":
        known = self._ids.get(anonymous_id)
        if known is None:
            row = self._stored.get(anonymous_key(self._project_id, anonymous_id))
            before = identity.decode(row) if row else identity.NOBODY
            known = self._ids[anonymous_id] = _AnonymousId(before, before)
        return known


class _Unknown(Enum):
    NOT_ASKED = auto()


# Nobody has asked yet who always did what an id did, or what came since may have changed it.
_NOT_ASKED: Final = _Unknown.NOT_ASKED


class _AnonymousId(msgspec.Struct, gc=False):
    """`before` is its state in the table, `now` the state with all facts but those that wait in `learnt`, and `always`
    what `identity.owner_always` says. A struct, as a class takes three times as long to be made."""

    before: Ownership
    now: Ownership
    always: str | UnsetType | _Unknown | None = _NOT_ASKED
    learnt: list[LinkFact] = []

    def learn(self, fact: LinkFact) -> None:
        self.learnt.append(fact)
        is_of_its_one_user = fact.user_id is not None and fact.user_id == self.always and fact.kind is not FIRST
        if not is_of_its_one_user:
            self.always = _NOT_ASKED

    def state(self, rules: ProjectRules) -> Ownership:
        if self.learnt:
            self.now = identity.with_facts(self.now, self.learnt, rules.max_users)
            self.learnt = []
        return self.now

    def replace(self, state: Ownership) -> None:
        self.now, self.always = state, _NOT_ASKED
