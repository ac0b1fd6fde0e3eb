"""The one place where tests wait: for a condition, never for a time."""

import time
from collections.abc import Callable

SHORTEST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 0.5


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 60.0, poll_s: float | None = None) -> None:
    """Return soon after the condition holds; fail with `what` when it has not by the deadline.

    It is asked every `poll_s`, which a condition that does not hold for long needs; by default less and less often, as
    asking is work for the parts that are waited for.
    """
    began_s = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - began_s
        if waited_s > timeout_s:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(poll_s or min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, waited_s / 8)))
