r"""Bodies with half of a surrogate pair: JavaScript cuts an emoji in two and sends `"\ud83d"`, which is JSON by its
grammar but no Unicode text, and which msgspec refuses whole. One such event must not take its batch with it.

So the body is read with each half exchanged for `\ufffd`, as long as it was, and the items are then taken from the
same places of the body as it came.
"""

import re
from collections.abc import Iterable

import msgspec

# A whole pair, half of one (the group), or any other escape, so that `\\ud83d` is seen for the text that it is.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_REPLACEMENT = rb"\ufffd"


def mended(body: bytes) -> bytes | None:
    """The body with half pairs replaced, of the same length; None where it has none."""
    readable = _ESCAPE.sub(lambda found: _REPLACEMENT if found[1] else found[0], body)
    return readable if readable != body else None


def original_items(body: bytes, readable: bytes, array: bytes, items: Iterable[msgspec.Raw]) -> list[msgspec.Raw]:
    """The items of `array`, as read from `readable`, but with the bytes that they have in `body`."""
    position = readable.rfind(array)
    originals = []
    for item in items:
        text = bytes(item)
        position = readable.find(text, position)
        originals.append(msgspec.Raw(body[position : position + len(text)]))
        position += len(text)
    return originals
