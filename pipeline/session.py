"""The session of an event whose client names none: Millimetric's rule, for every dialect."""

from typing import Final

SESSION_MS: Final = 1_800_000


def session_of(anonymous_id: str | None, timestamp_ms: int) -> str | None:
    """The half hour of one anonymous id in which it happened; None where there is no such id."""
    return f"{anonymous_id}-{timestamp_ms // SESSION_MS}" if anonymous_id else None
