"""Ids that name nobody: placeholders that clients send when they mean "unknown". They make no link."""

import re
from functools import lru_cache
from typing import Final

_PLACEHOLDERS = frozenset(
    {"", "anonymous", "guest", "anon", "distinctid", "distinct_id", "id", "not_authenticated", "email"}
    | {"undefined", "true", "false", "nil", "none", "null", "(null)", "n/a", "na", "nan", "unknown", "void"}
    | {"<nil>", "[]", "{}", "[object object]", "-1"}
)
LONGEST_PLACEHOLDER: Final = max(map(len, _PLACEHOLDERS))  # characters, but for those of zeros and dashes alone
_ZEROS = re.compile(r"^[0-]*$")


@lru_cache(maxsize=65_536)
def is_blocked(value: str, further: frozenset[str] = frozenset()) -> bool:
    """Whether an id is a placeholder: by the built-in list, or by `further`, a project's own (already folded)."""
    folded = fold(value)
    return folded in _PLACEHOLDERS or folded in further or _ZEROS.match(folded) is not None


def fold(value: str) -> str:
    return value.strip().strip("\"'").strip().casefold()
