"""The topics: what each is called, how it is kept, and which ones must agree on their partition count."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

RAW = "events.raw"
STITCHED = "events.stitched"
REJECTED = "events.rejected"
LINKS = "identity.links"
MERGES = "identity.merges"
PERSONS = "identity.persons"
CHANGES = "identity.changes"
PROJECTS = "control.projects"

WORKER_GROUP = "whipstitch-worker"
IDENTITY_CHANGELOG = f"{WORKER_GROUP}-identity-changelog"


class Cleanup(StrEnum):
    DELETE = "delete"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it must be. `partitions` "data" means: as many as every other data topic, so that what a key
    leaves on one partition of `events.raw` it leaves on the same partition of every topic behind it. What is not
    compacted is kept as long as `events.raw`."""

    name: str
    holds: str
    partitions: Literal["data", 1]
    cleanup: Cleanup


TOPICS = (
    Topic(RAW, "what clients sent, with what the ingress stamped; the source of truth", "data", Cleanup.DELETE),
    Topic(STITCHED, "events checked, deduplicated, attributed; the log of dedupe", "data", Cleanup.DELETE),
    Topic(REJECTED, "dead letters: the original record and why", "data", Cleanup.DELETE),
    Topic(LINKS, "facts that tie an anonymous id to a user, and resets", "data", Cleanup.DELETE),
    Topic(MERGES, "facts that tie two users, or part them", "data", Cleanup.COMPACT),
    Topic(PERSONS, "which users are one person, and since when", "data", Cleanup.COMPACT),
    Topic(CHANGES, "users that became another person, for consumers that follow", "data", Cleanup.DELETE),
    Topic(IDENTITY_CHANGELOG, "the identity table: anonymous id to owners", "data", Cleanup.COMPACT),
    Topic(PROJECTS, "projects, keys and their settings", 1, Cleanup.COMPACT),
)
