"""Which of the known paths a request's path is, where one segment of a known path may stand for anything."""

from collections.abc import Iterable


class Paths:
    """Of tables by (method, path), in which `/v1/{id}/settings` is a pattern."""

    def __init__(self, *tables: Iterable[tuple[str, str]]) -> None:
        self._methods: dict[str, set[str]] = {}
        for method, path in (at for table in tables for at in table):
            self._methods.setdefault(path, {"OPTIONS"}).add(method)
        self._patterns = [(*path_parts(path), path) for path in self._methods if "{" in path]

    def pattern_of(self, path: str) -> str | None:
        """The path as the tables have it; None where nothing is there."""
        if path in self._methods:
            return path
        return next((known for before, after, known in self._patterns if _fits(path, before, after)), None)

    def methods_of(self, pattern: str) -> bytes:
        """As an Allow header has them."""
        return ", ".join(sorted(self._methods[pattern])).encode()


def path_parts(pattern: str) -> tuple[str, str]:
    """What stands before and after the segment in braces."""
    before, _, rest = pattern.partition("{")
    return before, rest.partition("}")[2]


def named_segment(path: str, pattern: str) -> str:
    """The segment of a path that stands where its pattern has braces."""
    before, after = path_parts(pattern)
    return path[len(before) : len(path) - len(after)]


def _fits(path: str, before: str, after: str) -> bool:
    segment = path[len(before) : len(path) - len(after)]
    return path.startswith(before) and path.endswith(after) and segment != "" and "/" not in segment
