"""Tells a worker that is stuck from one that has nothing to do or waits for the world. It reads no clock."""

from typing import Final


class Watchdog:
    """Stuck is: records lie there, and for `patience_s` none was done and nobody said what they are waiting for."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s: Final = patience_s
        self._alive_s: float | None = None
        self._last: tuple[int, int] | None = None

    def is_stuck(self, now_s: float, lag: int, done: int, beats: int) -> bool:
        """`lag` is the records not done, `done` those done so far, `beats` how often someone said that they try again;
        the last two are compared with those of the look before."""
        if lag == 0 or self._alive_s is None or self._last != (done, beats):
            self._alive_s, self._last = now_s, (done, beats)
        return now_s - self._alive_s >= self._patience_s
