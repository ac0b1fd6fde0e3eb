"""Who a person is, as a UUID: computed from ids alone, so nobody has to agree on it first.

The store computes the same (store/migrations/0001_events.sql); a test holds the two together.
"""

from functools import lru_cache
from typing import Final
from uuid import UUID, uuid5

NAMESPACE: Final = UUID("9f5c1e0a-7d6b-4c83-a2e1-4b7f60d3c958")


def person_id(project_id: str, user_id: str | None, anonymous_id: str | None, message_id: str = "") -> UUID:
    """The person of a user; without one, of an anonymous id; without either, of that one message alone."""
    if user_id is not None:
        return uuid5(_project(project_id), f"u:{user_id}")
    if anonymous_id is not None:
        return uuid5(_project(project_id), f"a:{anonymous_id}")
    return uuid5(_project(project_id), f"m:{message_id}")


@lru_cache(maxsize=1024)
def _project(project_id: str) -> UUID:
    return uuid5(NAMESPACE, project_id)
