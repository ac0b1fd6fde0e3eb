"""Who is who, as it becomes known: follows `identity.links` and `identity.changes`, and prints what changes.

    python examples/follow_identity.py 127.0.0.1:9092     (`whipstitch doctor` says where Kafka is)

Needs aiokafka alone. A record may come again, and nothing says which of the two topics is read first; so each thing is
kept with what orders it (a fact's own time, a change's version), and what is older changes nothing.
"""

import asyncio
import json
import sys
from collections import defaultdict
from typing import Any

from aiokafka import AIOKafkaConsumer

LINKS, CHANGES = "identity.links", "identity.changes"
Id = tuple[str, str]  # project and id: the same id in two projects is two people
NEVER = (float("-inf"), "")


class WhoIsWho:
    """Anonymous id → user → person → all users of that person. A person goes by its canonical user."""

    def __init__(self) -> None:
        self._latest: dict[Id, tuple[tuple[float, str], str | None]] = {}
        self._earliest: dict[Id, tuple[tuple[float, str], str | None]] = {}
        self._persons: dict[Id, tuple[int, str]] = {}
        self._members: defaultdict[Id, set[str]] = defaultdict(set)

    def user_of(self, project: str, anonymous_id: str) -> str | None:
        """The user by the latest fact; None where there is none, or where the latest is a reset."""
        known = [facts.get((project, anonymous_id), (NEVER, None)) for facts in (self._latest, self._earliest)]
        return max(known, key=lambda fact: fact[0])[1]

    def person_of(self, project: str, user_id: str) -> str:
        return self._persons.get((project, user_id), (0, user_id))[1]

    def members_of(self, project: str, user_id: str) -> list[str]:
        return sorted({*self._members[project, self.person_of(project, user_id)]} or {user_id})

    def learn_link(self, fact: dict[str, Any]) -> None:
        this, at = (fact["project_id"], fact["anonymous_id"]), (fact["timestamp"], fact["message_id"])
        # A fact of kind `first` counts only where it is the earliest of its anonymous id that has a user.
        if fact["kind"] != "first" and at > self._latest.get(this, (NEVER, None))[0]:
            self._latest[this] = at, fact["user_id"]
        if fact["user_id"] is not None and (this not in self._earliest or at < self._earliest[this][0]):
            self._earliest[this] = at, fact["user_id"]

    def learn_change(self, change: dict[str, Any]) -> list[str]:
        """Whoever became another person by it."""
        project, person, version = change["project_id"], change["new_user_id"], change["version"]
        moved = []
        for user_id in sorted({change["user_id"], *change["members"]}):
            if version >= self._persons.get((project, user_id), (0, ""))[0]:
                before = self.person_of(project, user_id)
                self._members[project, before].discard(user_id)
                self._members[project, person].add(user_id)
                self._persons[project, user_id] = version, person
                moved += [user_id] if person != before else []
        return moved


async def follow(bootstrap_servers: str) -> None:
    who = WhoIsWho()
    # No group: every run reads both topics from their beginning, and commits nothing.
    consumer = AIOKafkaConsumer(
        LINKS, CHANGES, bootstrap_servers=bootstrap_servers, group_id=None, auto_offset_reset="earliest"
    )
    async with consumer:
        async for record in consumer:
            for line in learned(who, record.topic, json.loads(record.value)):
                print(line, flush=True)


def learned(who: WhoIsWho, topic: str, value: dict[str, Any]) -> list[str]:
    """Take one record in, and say what is known now that was not before."""
    project = value["project_id"]
    if topic == LINKS:
        before = who.user_of(project, value["anonymous_id"])
        who.learn_link(value)
        user_id = who.user_of(project, value["anonymous_id"])
        return [] if user_id == before else [f"{project}: {value['anonymous_id']} is {user_id or 'nobody'}"]
    person, moved = value["new_user_id"], who.learn_change(value)
    members = ", ".join(who.members_of(project, person))
    return [f"{project}: {user_id} is the person {person} ({members})" for user_id in moved]


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092"))
