"""Records of `identity.persons` and `identity.changes`: which users are one person, since when, and what changed.

Both are written by the merge agent alone, to the partition of the project's id.
"""

from enum import StrEnum

import msgspec


class Standing(StrEnum):
    ALONE = "alone"  # tied to nobody
    JOINED = "joined"  # one person with other users
    SUSPENDED = "suspended"  # tied to more users than a person may have: counts as alone, and is reported


class PersonStep(msgspec.Struct, frozen=True, gc=False):
    """From `since` on (received time, Unix seconds), as far as messages received by then tell, `user_id` is the person
    `canonical_user_id`. A later record of the same user and `since` replaces the earlier. `message_id` is the message
    that made it so. A row of the store in JSONEachRow form, but for the version, which is the record's offset."""

    project_id: str
    user_id: str
    since: float
    canonical_user_id: str
    standing: Standing
    message_id: str


class PersonChange(msgspec.Struct, frozen=True, gc=False):
    """A user is another person than before. `members` are all users of the new person, the canonical one among them,
    in order; `version` grows with each change of the project; `person_id`s are as in `events_resolved_v`."""

    project_id: str
    user_id: str
    old_user_id: str
    new_user_id: str
    old_person_id: str
    new_person_id: str
    members: tuple[str, ...]
    standing: Standing
    message_id: str
    received_at: float
    version: int


encode = msgspec.json.Encoder().encode
decode_step = msgspec.json.Decoder(PersonStep).decode
decode_change = msgspec.json.Decoder(PersonChange).decode


def step_key(project_id: str, user_id: str, since: float) -> bytes:
    return f"{project_id}|s:{round(since * 1000)}:{user_id}".encode("utf-8", "surrogatepass")


def user_key(project_id: str, user_id: str) -> bytes:
    return f"{project_id}|u:{user_id}".encode("utf-8", "surrogatepass")
