"""Where the parts of a ClickHouse statement begin: the data of an insert, the FORMAT of an answer.

Bytes in, slices of them out; nothing here judges a statement, the engine does. Comments, quotes, heredocs and
brackets are honoured as ClickHouse's own lexer does, so that a FORMAT inside of them is none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import NamedTuple

_TOKEN = re.compile(
    rb"""
    (?P<skip> \s+ | --[^\n]* | \#[!\ ][^\n]* | /\*.*?(?:\*/|$(?!\n)) )
  | (?P<quoted> '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" | `(?:[^`\\]|\\.)*` | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
  | (?P<word> [A-Za-z_]\w* )
  | (?P<rest> [\d.,][\w.,]* | . )
    """,
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    word: bytes
    """Upper case; empty where the token is no word or stands within brackets."""
    start: int
    end: int
    depth: int


@dataclass(frozen=True, slots=True)
class InsertHead:
    """An insert that brings its rows along: the statement up to its SETTINGS and these, the rows' format, and where
    they begin."""

    statement: bytes
    settings: bytes
    format: str
    data_at: int


@dataclass(frozen=True, slots=True)
class Parts:
    """A statement cut before its FORMAT (or at its end, where it has none). `tail` is from FORMAT on."""

    body: bytes
    format: str | None
    tail: bytes


def insert_head(text: bytes) -> InsertHead | None:
    """What comes before an insert's rows; None for an INSERT … SELECT and for every other statement.

    `text` may stop anywhere after the head: rows that follow are not looked at.
    """
    tokens = _tokens(text)
    if next(tokens, _NOTHING).word != b"INSERT":
        return None
    marker, name_seen, settings_at = None, False, None
    for token in tokens:
        if marker and token.word:
            format, data_at = text[token.start : token.end].decode(), _data_at(text, token.end)
            return InsertHead(*_cut(text[: marker.start], settings_at), format, data_at)
        if name_seen and token.word == b"VALUES":
            return InsertHead(*_cut(text[: token.start], settings_at), "Values", token.end)
        if name_seen and settings_at is None and token.word == b"SETTINGS":
            settings_at = token.start
        if name_seen and token.word in (b"SELECT", b"WITH"):
            return None
        marker = token if name_seen and token.word == b"FORMAT" else None
        name_seen = name_seen or token.word not in (b"INTO", b"TABLE", b"FUNCTION")
    return None


def parts(text: bytes) -> Parts:
    """Cut a statement that answers rows where INTO OUTFILE may be put in."""
    tokens = [token for token in _tokens(text) if text[token.start : token.end] != b";"]
    for index in range(len(tokens) - 2, 0, -1):
        marker, name = tokens[index], tokens[index + 1]
        if marker.word == b"FORMAT" and name.word and _ends_after(tokens, index + 2):
            before = tokens[index - 1].end
            return Parts(text[:before], text[name.start : name.end].decode(), text[marker.start : tokens[-1].end])
    return Parts(text[: tokens[-1].end] if tokens else b"", None, b"")


def first_words(text: bytes) -> list[str]:
    """The first two words or symbols, in upper case: what kind of statement this is; none for an empty one."""
    return [text[token.start : token.end].decode(errors="replace").upper() for token in islice(_tokens(text), 2)]


def writes_file(text: bytes) -> bool:
    """Whether the statement says INTO OUTFILE, which ClickHouse allows to its own client only."""
    words = [token.word for token in _tokens(text)]
    return (b"INTO", b"OUTFILE") in pairwise(words)


_NOTHING = _Token(b"", 0, 0, 0)


def _tokens(text: bytes) -> Iterator[_Token]:
    depth = 0
    for found in _TOKEN.finditer(text):
        if found.lastgroup == "skip":
            continue
        symbol = found.group()
        depth -= symbol in (b")", b"]", b"}")
        word = symbol.upper() if found["word"] and depth <= 0 else b""
        yield _Token(word, found.start(), found.end(), depth)
        depth += symbol in (b"(", b"[", b"{")


def _cut(text: bytes, at: int | None) -> tuple[bytes, bytes]:
    return (text, b"") if at is None else (text[:at], text[at:])


def _ends_after(tokens: list[_Token], index: int) -> bool:
    return index == len(tokens) or tokens[index].word == b"SETTINGS"


def _data_at(text: bytes, at: int) -> int:
    """Rows begin after the first line break, or after blanks where there is none (ClickHouse's ParserInsertQuery)."""
    found = re.compile(rb"[ \t\f]*\r?\n?").match(text, at)
    return found.end() if found else at
