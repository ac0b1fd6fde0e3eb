"""Tries again for as long as the world is away, and lets the watchdog know that it does."""

import logging

import tenacity

logger = logging.getLogger(__name__)

_LONGEST_WAIT_S = 10.0


class Pulse:
    """Counts the attempts of all that try again."""

    def __init__(self) -> None:
        self.beats = 0

    def beat(self) -> None:
        self.beats += 1


def until_possible(error: type[Exception], pulse: Pulse) -> tenacity.AsyncRetrying:
    """Attempts for ever, further and further apart, while they fail with `error`; any other error is raised."""
    log = tenacity.before_sleep_log(logger, logging.WARNING)

    def tell(state: tenacity.RetryCallState) -> None:
        pulse.beat()
        log(state)

    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(error),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=_LONGEST_WAIT_S),
        before_sleep=tell,
    )
