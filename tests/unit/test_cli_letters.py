"""Dead letters on the screen: nothing of an event is obeyed by a terminal, nothing of its bytes is lost in JSON."""

import base64
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cli.letter_output import as_json, columns, letter_text, table
from cli.progress import progress
from store.dead_letters import Letter, Place

AT = datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)
LETTER = Letter(
    place=Place("events.raw", 3, 1027),
    project_id="shop",
    message_id="m-1",
    step="validate",
    reason="missing_id",
    detail="neither userId nor anonymousId",
    rejected_at=AT,
    received_at=AT,
    key=b"shop|m:m-1",
    value=b'{"event":"E"}',
    headers={"whipstitch": b"{}", "odd": b"\xff\x00"},
)
HOSTILE = replace(
    LETTER,
    project_id="\x1b[2J",
    message_id="\x9b31m",
    detail="a\nb",
    key=b"\x1b",
    value=b"\x1b]0;x\x07\xff",
    headers={"\x1b": b"\x1b"},
)


def test_all_of_a_letter_is_shown() -> None:
    shown = letter_text(LETTER)
    assert shown.splitlines()[0].split() == ["id", "events.raw:3:1027"]
    assert "2026-01-31T12:00:00.250+00:00" in shown
    assert "shop|m:m-1" in shown
    assert "\\xff\\x00" in shown
    assert shown.endswith('value, 13 bytes:\n{"event":"E"}')


def test_no_control_character_reaches_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table([HOSTILE])
    heading, rows = columns([HOSTILE])
    for shown in (letter_text(HOSTILE), capsys.readouterr().out, *rows[0], *heading):
        assert all(character.isprintable() or character == "\n" for character in shown)
    assert "\n" not in "".join(rows[0])


def test_bytes_that_are_no_text_are_base64_in_json() -> None:
    told = as_json(HOSTILE)
    assert base64.b64decode(str(told["value_base64"])) == HOSTILE.value
    assert told["key"] == "\x1b"
    assert as_json(LETTER)["value"] == '{"event":"E"}'
    assert as_json(LETTER)["headers"] == [
        {"name": "whipstitch", "value": "{}"},
        {"name": "odd", "value_base64": "/wA="},
    ]


def test_a_letter_of_no_project_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    nobody = replace(LETTER, project_id="", message_id=None, received_at=None)
    assert columns([nobody])[1][0][2:5] == ("-", "missing_id", "-")
    assert (as_json(nobody)["project"], as_json(nobody)["received_at"]) == (None, None)
    assert letter_text(nobody)


@pytest.mark.parametrize(("total", "lines"), [(10_000, 10), (999, 0), (0, 0)])
def test_long_work_says_how_far_it_is_and_short_work_says_nothing(
    total: int, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("reading", total) as advance:
        for _ in range(total):
            advance(1)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == lines
    assert told[-1:] == (["reading: 10,000 of 10,000"] if lines else [])
