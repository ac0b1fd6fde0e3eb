"""Reads from the store what `identity show` tells of one id.

Arrives: a store, the id, and the moment to ask of. Leaves: rows, and what the id was found to be.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from cli import identity_sql as sql
from cli.identity_rows import Done, Membership, Message, Refused, Rows, Tie, TieKind
from store.client import Row, Store
from store.facts import edge_of
from topics.control import Project
from topics.persons import Standing

Side = Literal["user", "anonymous"]
SIDES: Final[tuple[Side, ...]] = ("user", "anonymous")
FOR_EVER: Final = datetime(2299, 1, 1, tzinfo=UTC)
_DEFAULTS: Final = Project(id="", created_at_ms=0)


@dataclass(frozen=True, slots=True)
class Asked:
    """The question: one id of a project, as far as messages received until `as_of` tell."""

    project_id: str
    id: str
    as_of: datetime = FOR_EVER


class Reader:
    """What one store says to one question. Every method raises StoreError."""

    def __init__(self, store: Store, asked: Asked) -> None:
        self._store = store
        self.asked = asked

    def sides(self) -> list[Side]:
        """What the id is: a user's, an anonymous one, both, or nothing that is known."""
        is_user = bool(self._rows(sql.IS_USER))
        is_anonymous = bool(self._rows(sql.IS_ANONYMOUS_ID) or (not is_user and self._rows(sql.HAS_LINKS)))
        return [side for side, is_side in zip(SIDES, (is_user, is_anonymous), strict=True) if is_side]

    def read(self, sides: Collection[Side]) -> Rows:
        """All that is to be shown of the id. A shared anonymous id is shown without the persons of its users."""
        project = self._project()
        anonymous_id = self.asked.id if "anonymous" in sides else None
        users = {self.asked.id} if "user" in sides else set()
        if anonymous_id is not None:
            had_it = {tie.user_id for tie in self._ties((), anonymous_id) if tie.user_id is not None}
            users |= had_it if len(had_it) <= project.max_users_per_anonymous_id else set()
        memberships = self._memberships(users)
        user_ids = [each.user_id for each in memberships]
        return Rows(
            project_id=self.asked.project_id,
            policy=project.policy,
            max_users=project.max_users_per_anonymous_id,
            anonymous_id=anonymous_id,
            memberships=memberships,
            ties=self._ties(user_ids, anonymous_id),
            edge_facts=[edge_of(row) for row in self._rows(sql.EDGES, users=user_ids)],
            done=[Done(**row) for row in self._rows(sql.DONE, users=user_ids, anonymous_id=anonymous_id or "")],
            refused=[Refused(**row) for row in self._rows(sql.REFUSED, users=user_ids)],
        )

    def projects(self) -> list[str]:
        """Some of the projects that have events."""
        return [row["project_id"] for row in self._rows(sql.PROJECTS)]

    def _project(self) -> Project:
        rows = self._rows(sql.PROJECT)
        return Project(id=self.asked.project_id, created_at_ms=0, **rows[0]) if rows else _DEFAULTS

    def _memberships(self, users: Collection[str]) -> list[Membership]:
        """A user of whom nothing is told is alone."""
        rows = self._rows(sql.MEMBERSHIPS, users=sorted(users))
        told = {row["user_id"]: row for row in rows}
        wanted = {told[user]["canonical_user_id"] if user in told else user for user in users}
        joined = [
            Membership(row["user_id"], row["canonical_user_id"], Standing(row["standing"]))
            for row in rows
            if row["canonical_user_id"] in wanted
        ]
        alone = [Membership(user, user, Standing.ALONE) for user in sorted(users - told.keys())]
        return [*joined, *alone]

    def _ties(self, users: Collection[str], anonymous_id: str | None) -> list[Tie]:
        rows = self._rows(sql.TIES, users=[*users], anonymous_id=anonymous_id or "")
        return [_tie(row) for row in rows]

    def _rows(self, query: str, **params: object) -> list[Row]:
        asked: Mapping[str, object] = {
            "project": self.asked.project_id,
            "id": self.asked.id,
            "as_of": self.asked.as_of,
            **params,
        }
        return self._store.query(query, asked)


def _tie(row: Row) -> Tie:
    kinds: Mapping[str, TieKind] = {"exact": "identify", "implicit": "implicit", "first": "first", "reset": "reset"}
    return Tie(
        anonymous_id=row["anonymous_id"],
        user_id=row["user_id"],
        kind="alias" if row["is_alias"] and row["kind"] == "exact" else kinds[row["kind"]],
        message=Message(row["message_id"], row["timestamp"], row["received_at"]),
        facts=row["facts"],
        last_at=row["last_at"],
    )
