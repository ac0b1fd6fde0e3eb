"""The one place where tests wait: for a condition, never for a time."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 60.0, poll_s: float = 0.01) -> None:
    """Return as soon as the condition holds; fail with `what` when it has not by the deadline."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(poll_s)
