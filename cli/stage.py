"""Stages of long work whose size is known only once it is under way."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from cli.progress import progress


@contextmanager
def stage(doing: str) -> Iterator[Callable[[int], None]]:
    """Shows what is left of some work as what is done of it."""
    with ExitStack() as shown:
        left, advance = 0, None

        def told(now_left: int) -> None:
            nonlocal left, advance
            if advance is None:
                advance = shown.enter_context(progress(doing, now_left))
            advance(max(0, left - now_left))
            left = now_left

        yield told
