"""Views of the present, made of the text of the views that tell what was known at a moment.

A view with a parameter has no columns until it is given a value: the server analyzes it to know them, and again to run
it, so one that lies four views deep is analyzed sixteen times. The present is the last instant that the store can tell,
and asked of that alone the same text is a plain view, which is analyzed once.
"""

import re
from collections.abc import Sequence
from typing import Final

_LAST_INSTANT: Final = "toDateTime64('2299-12-31 23:59:59.999', 3, 'UTC')"
_OF_A_MOMENT: Final = re.compile(r"CREATE OR REPLACE VIEW (\w+) AS\n(.*\{as_of:.*)", re.DOTALL)
_OF_THE_PRESENT: Final = re.compile(r"CREATE OR REPLACE VIEW (\w+) AS THE PRESENT OF (\w+)")
_PARAMETER: Final = re.compile(r"\{\w+:DateTime64\(3, 'UTC'\)\}")
_ASKED: Final = re.compile(r"(\w+_as_of)\((?:\s*\w+ = \{[^}]+\},?\s*)+\)")


def with_present_views(statements: Sequence[str], before: Sequence[str]) -> list[str]:
    """The statements, each `CREATE OR REPLACE VIEW … AS THE PRESENT OF …` written out by what these statements or those
    before them say of the other view. What that one asks of its own moment, the present one asks of the present views
    made here."""
    texts = {found[1]: found[2] for statement in (*before, *statements) if (found := _OF_A_MOMENT.search(statement))}
    names = {found[2]: found[1] for statement in statements if (found := _OF_THE_PRESENT.search(statement))}

    def written_out(found: re.Match[str]) -> str:
        asked = _ASKED.sub(lambda view: names[view[1]], texts[found[2]])
        return f"CREATE OR REPLACE VIEW {found[1]} AS\n{_PARAMETER.sub(_LAST_INSTANT, asked)}"

    return [_OF_THE_PRESENT.sub(written_out, statement) for statement in statements]
