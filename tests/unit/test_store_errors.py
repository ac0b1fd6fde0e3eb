"""Errors of the store: which class a code means, and what people read."""

import pytest

from store import errors
from store.errors import BadRows, StoreError, StoreFailure, StoreUnavailable, away, error_of


@pytest.mark.parametrize(
    ("code", "is_insert", "expected"),
    [
        (252, True, StoreUnavailable),
        (241, True, StoreUnavailable),
        (202, False, StoreUnavailable),
        (243, True, StoreUnavailable),
        (242, True, StoreUnavailable),
        (210, False, StoreUnavailable),
        (741, True, StoreUnavailable),
        (117, True, BadRows),
        (27, True, BadRows),
        (53, True, BadRows),
        (6, True, BadRows),
        (72, True, BadRows),
        (469, True, BadRows),
        (117, False, StoreFailure),
        (60, True, StoreFailure),
        (62, True, StoreFailure),
        (516, True, StoreFailure),
        (192, False, StoreFailure),
        (193, False, StoreFailure),
        (987654, True, StoreFailure),
    ],
)
def test_code_decides_the_class(code: int, is_insert: bool, expected: type[StoreError]) -> None:
    error = error_of(code, "why", "host:9000/db", is_insert=is_insert)
    assert type(error) is expected
    assert error.code == code


def test_no_code_means_two_things() -> None:
    assert errors._UNAVAILABLE.keys() & errors._BAD_ROWS.keys() == set()
    assert errors._WHAT_TO_DO.keys() & errors._BAD_ROWS.keys() == set()


def test_tree_is_as_the_docstring_draws_it() -> None:
    drawn = [word for line in str(errors.__doc__).splitlines() if line[:1] in "├└" for word in line.split()[1:2]]
    assert drawn == [error.__name__ for error in StoreError.__subclasses__()]


def test_message_says_what_where_and_what_to_do_in_one_line() -> None:
    text = (
        "Code: 60. DB::Exception: Table w.events\n doesn't exist. (UNKNOWN_TABLE) (version 26.9.2.1)\nStack trace: 0. x"
    )
    assert str(error_of(60, text, "host:9000/w", is_insert=False)) == (
        "the store at host:9000/w answered with code 60: Table w.events doesn't exist. (UNKNOWN_TABLE); "
        "where it is one of whipstitch's own, run `whipstitch migrate`"
    )


def test_server_that_is_away_is_named() -> None:
    assert str(away("host:9000/w", ConnectionRefusedError("refused"))).startswith(
        "the store at host:9000/w does not answer: refused;"
    )
    assert away("host:9000/w", "").code is None
