"""A dead letter as people and programs read it. Nothing of an event reaches a terminal as a control character."""

import base64
from collections.abc import Sequence

from cli.output import instant
from store.dead_letters import Letter

HEADING = ("ID", "REFUSED AT", "PROJECT", "REASON", "MESSAGE", "DETAIL")


def columns(letters: Sequence[Letter]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Heading and rows."""
    return HEADING, [
        (
            letter_id(letter),
            instant(letter.rejected_at.timestamp()),
            printable(letter.project_id) or "-",
            letter.reason,
            printable(letter.message_id or "-"),
            printable(letter.detail),
        )
        for letter in letters
    ]


def table(letters: Sequence[Letter]) -> None:
    """On the terminal, each letter on one line: what does not fit is cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    heading, rows = columns(letters)
    shown = Table(box=None, pad_edge=False)
    for name in heading:
        shown.add_column(name, no_wrap=True, overflow="ignore" if name == "ID" else "ellipsis")
    for row in rows:
        shown.add_row(*map(Text, row))
    Console().print(shown)


def letter_id(letter: Letter) -> str:
    return ":".join(map(str, letter.place))


def letter_text(letter: Letter) -> str:
    """All of it, a line each, and the bytes last; what is no text in it as `\\xff`."""
    told = {
        "id": letter_id(letter),
        "refused at": letter.rejected_at.isoformat(timespec="milliseconds"),
        "received at": letter.received_at.isoformat(timespec="milliseconds") if letter.received_at else "-",
        "project": printable(letter.project_id) or "-",
        "message": printable(letter.message_id or "-"),
        "step": letter.step,
        "reason": letter.reason,
        "detail": printable(letter.detail),
        "key": _readable(letter.key),
        **{f"header {printable(name)}": _readable(value) for name, value in letter.headers.items()},
    }
    width = max(map(len, told))
    lines = [f"{name:<{width}}  {value}" for name, value in told.items()]
    return "\n".join([*lines, f"value, {len(letter.value)} bytes:", _readable(letter.value)])


def as_json(letter: Letter) -> dict[str, object]:
    """Bytes that are no UTF-8 text are under `…_base64` instead."""
    return {
        "id": letter_id(letter),
        "rejected_at": letter.rejected_at.isoformat(timespec="milliseconds"),
        "received_at": letter.received_at.isoformat(timespec="milliseconds") if letter.received_at else None,
        "project": letter.project_id or None,
        "message_id": letter.message_id,
        "step": letter.step,
        "reason": letter.reason,
        "detail": letter.detail,
        **_text_or_base64("key", letter.key),
        "headers": [{"name": name, **_text_or_base64("value", value)} for name, value in letter.headers.items()],
        **_text_or_base64("value", letter.value),
    }


def printable(text: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in text)


def _readable(value: bytes) -> str:
    text = value.decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _text_or_base64(name: str, value: bytes) -> dict[str, str]:
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}
