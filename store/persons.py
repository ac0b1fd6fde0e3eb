"""Who is meant by an id, from what was received until a moment: read here, decided in `pipeline.forget`.

Every method raises StoreError.
"""

from collections.abc import Collection
from typing import Final

from pipeline.forget import Chosen, Known, Person, person_ids
from pipeline.person import person_id
from store.client import Store
from store.forget import LIVE, Tables, instant
from topics.control import Forgotten

_RECEIVED: Final = "project_id = {project:String} AND received_at <= {then:DateTime64(3, 'UTC')}"
_REJECTED: Final = "project_id = {project:String} AND rejected_at <= {then:DateTime64(3, 'UTC')}"
_ID: Final = "{id:String}"


class Reader:
    """What the tables say of one project's ids, as of a moment in Unix milliseconds."""

    def __init__(self, store: Store, project_id: str, at_ms: int, tables: Tables = LIVE) -> None:
        self._store = store
        self._project_id = project_id
        self._at_ms = at_ms
        self._tables = tables

    def known(self, id_: str) -> Known:
        """What an id is known as; who is known by dead letters alone is known too."""
        is_user = self._is_user(id_)
        # An alias makes a fact of its previous id, which may be a user's: that alone makes it no anonymous one.
        is_anonymous = self._is_anonymous(id_) or (not is_user and bool(self._facts(id_)))
        return Known(
            as_user=self._canonical({id_})[id_] if is_user else None,
            owners=frozenset(self._canonical(self._owners(id_)).values()) if is_anonymous else None,
        )

    def person(self, chosen: Chosen) -> Person:
        """All users and anonymous ids of who was chosen."""
        users = () if chosen.canonical_user_id is None else self._members(chosen.canonical_user_id)
        asked_for = () if chosen.anonymous_id is None else (chosen.anonymous_id,)
        return Person(
            project_id=self._project_id,
            person_ids=person_ids(self._project_id, chosen),
            users=tuple(sorted(users)),
            anonymous_ids=tuple(sorted({*asked_for, *self._tied_to(users)})),
            asked_for=chosen.anonymous_id,
            forgotten_at_ms=self._at_ms,
        )

    def chosen_by(self, forgotten: Forgotten) -> Chosen | None:
        """Who it was that was forgotten, by the tables of a replay, which has them again; None where it has not."""
        tables = self._tables
        users = self._column(
            f"SELECT user_id FROM {tables.events.name} "
            f"WHERE {_RECEIVED} AND user_id IS NOT NULL AND own_person_id = {{id:UUID}} "
            f"UNION DISTINCT SELECT user_id FROM {tables.links.name} "
            f"WHERE {_RECEIVED} AND user_id IS NOT NULL AND user_person_id = {{id:UUID}} "
            f"UNION DISTINCT SELECT user_id FROM {self._members_view()} WHERE person_id = {{id:UUID}}",
            id=forgotten.person_id,
        )
        for canonical in self._canonical(users).values():
            if str(person_id(self._project_id, canonical, None)) == forgotten.person_id:
                return Chosen(canonical, None)
        anonymous_ids = self._column(
            f"SELECT anonymous_id FROM {tables.events.name} WHERE {_RECEIVED} AND own_person_id = {{id:UUID}} LIMIT 1",
            id=forgotten.person_id,
        )
        return Chosen(None, next(iter(anonymous_ids))) if anonymous_ids else None

    def _is_user(self, id_: str) -> bool:
        tables = self._tables
        found = self._column(
            f"SELECT 'event' FROM {tables.events.name} WHERE {_RECEIVED} AND user_id = {_ID} LIMIT 1 "
            f"UNION ALL SELECT 'link' FROM {tables.links.name} WHERE {_RECEIVED} AND user_id = {_ID} LIMIT 1 "
            f"UNION ALL SELECT 'edge' FROM {tables.edges.name} "
            f"WHERE {_RECEIVED} AND (from_user_id = {_ID} OR to_user_id = {_ID}) LIMIT 1 "
            f"UNION ALL SELECT 'step' FROM {self._members_view()} WHERE user_id = {_ID} LIMIT 1 "
            f"UNION ALL SELECT 'letter' FROM {tables.letters.name} WHERE {_REJECTED} AND user_id = {_ID} LIMIT 1",
            id=id_,
        )
        return bool(found)

    def _is_anonymous(self, id_: str) -> bool:
        tables = self._tables
        found = self._column(
            f"SELECT 'event' FROM {tables.events.name} WHERE {_RECEIVED} AND anonymous_id = {_ID} LIMIT 1 "
            f"UNION ALL SELECT 'letter' FROM {tables.letters.name} WHERE {_REJECTED} AND anonymous_id = {_ID} LIMIT 1",
            id=id_,
        )
        return bool(found)

    def _facts(self, anonymous_id: str) -> set[str]:
        sql = f"SELECT message_id FROM {self._tables.links.name} WHERE {_RECEIVED} AND anonymous_id = {_ID}"
        return self._column(sql, id=anonymous_id)

    def _owners(self, anonymous_id: str) -> set[str]:
        """The users that the id ever had, if a policy should give it to another."""
        sql = f"SELECT user_id FROM {self._tables.links.name} WHERE {_RECEIVED} AND anonymous_id = {_ID}"
        return self._column(f"{sql} AND user_id IS NOT NULL", id=anonymous_id)

    def _tied_to(self, users: Collection[str]) -> set[str]:
        sql = f"SELECT anonymous_id FROM {self._tables.links.name} WHERE {_RECEIVED}"
        return self._column(f"{sql} AND user_id IN {{users:Array(String)}}", users=[*users]) if users else set()

    def _members(self, canonical_user_id: str) -> set[str]:
        sql = f"SELECT user_id FROM {self._members_view()} WHERE canonical_user_id = {_ID}"
        return {canonical_user_id, *self._column(sql, id=canonical_user_id)}

    def _canonical(self, users: Collection[str]) -> dict[str, str]:
        """Whose person each of these users is; a user that nothing is told of is their own."""
        sql = f"SELECT user_id, canonical_user_id FROM {self._members_view()} WHERE user_id IN {{users:Array(String)}}"
        rows = self._store.query(sql, self._params(users=[*users])) if users else []
        return {user: user for user in users} | {str(row["user_id"]): str(row["canonical_user_id"]) for row in rows}

    def _members_view(self) -> str:
        """The members of the project's persons as of then, for a FROM."""
        view = f"{self._tables.members}(as_of = {{then:DateTime64(3, 'UTC')}})"
        return f"(SELECT * FROM {view} WHERE project_id = {{project:String}})"

    def _column(self, sql: str, **params: object) -> set[str]:
        return {str(value) for row in self._store.query(sql, self._params(**params)) for value in row.values()}

    def _params(self, **params: object) -> dict[str, object]:
        return {"project": self._project_id, "then": instant(self._at_ms), **params}
