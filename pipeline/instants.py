"""Instants: what clients write, as Unix milliseconds; and the correction for a client's wrong clock."""

from datetime import UTC, datetime
from typing import Final

from topics.raw import LATEST_MS

_MILLISECONDS_FROM: Final = 100_000_000_000  # a number from here on counts milliseconds: as seconds, the year 5138
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS: Final = 86_400_000
_LARGEST_NUMBER: Final = 1e18  # JSON may hold 10 to the 400th, which no float does


def read_instant(value: str | int | float | None) -> int | None:
    """ISO 8601 text (UTC where it names no zone) or a number of Unix seconds or milliseconds; None where unreadable."""
    if isinstance(value, str):
        try:
            since = datetime.fromisoformat(value) - _EPOCH
        except ValueError:
            return None
        except TypeError:  # it names no zone
            since = datetime.fromisoformat(value).replace(tzinfo=UTC) - _EPOCH
        # In whole numbers: two thirds of what `timestamp()` costs, and each event has two or three instants.
        milliseconds = since.days * _DAY_MS + since.seconds * 1000 + (since.microseconds + 500) // 1000
        return milliseconds if 0 <= milliseconds <= LATEST_MS else None
    if value is None or not -_LARGEST_NUMBER < value < _LARGEST_NUMBER:
        return None
    seconds = value / 1000 if value >= _MILLISECONDS_FROM else value
    milliseconds = int(seconds * 1000 + 0.5)
    return milliseconds if 0 <= milliseconds <= LATEST_MS else None


def corrected(received_at_ms: int, sent_at_ms: int | None, original_ms: int | None) -> int:
    """When it happened by the server's clock: `receivedAt - (sentAt - originalTimestamp)`, never later than receipt.

    The rule is Segment's (Spec: Common, "Timestamps"). Without `sentAt` the client's clock is taken as right.
    """
    if original_ms is None:
        return received_at_ms
    happened = original_ms if sent_at_ms is None else received_at_ms - sent_at_ms + original_ms
    if happened > received_at_ms:
        return received_at_ms
    return happened if happened > 0 else 0
