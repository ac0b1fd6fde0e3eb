"""How fast a replay may go and how fast it goes, by numbers alone: it reads no clock and does not sleep."""

from typing import Final

_WHOLE: Final = 100


def pause_s(busy_s: float, passed_s: float, share: int) -> float:
    """Seconds to do nothing, so that work of `busy_s` seconds takes at most `share` percent of the time. `passed_s`
    have passed since the last pause. What was not used is not saved up; 100 is no limit."""
    return 0.0 if share >= _WHOLE else max(0.0, busy_s * _WHOLE / share - passed_s)


def seconds_left(done: int, total: int, per_s: float) -> float | None:
    """None where that cannot be told."""
    return (total - done) / per_s if per_s > 0 else None


def duration(seconds: float | None) -> str:
    """As people say it: `2 h 05 min`, `3 min 20 s`, `12 s`."""
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
