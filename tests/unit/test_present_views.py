"""How views of the present are written out."""

import pytest

from store.migrate import migrations
from store.present_views import with_present_views

INNER = "CREATE OR REPLACE VIEW inner_as_of AS\nSELECT * FROM facts WHERE at <= {as_of:DateTime64(3, 'UTC')}"
OUTER = """CREATE OR REPLACE VIEW outer_as_of AS
SELECT * FROM inner_as_of(as_of = {as_of:DateTime64(3, 'UTC')}) AS one
JOIN two_as_of(
    as_of = {as_of:DateTime64(3, 'UTC')}, persons_as_of = {persons_as_of:DateTime64(3, 'UTC')}
) AS two"""
TWO = "CREATE OR REPLACE VIEW two_as_of AS\nSELECT {as_of:DateTime64(3, 'UTC')}, {persons_as_of:DateTime64(3, 'UTC')}"
LAST = "toDateTime64('2299-12-31 23:59:59.999', 3, 'UTC')"
PRESENT = [f"CREATE OR REPLACE VIEW {name}_now AS THE PRESENT OF {name}_as_of" for name in ("inner", "two", "outer")]


def test_moment_is_the_last_instant_and_other_views_are_those_of_the_present() -> None:
    assert with_present_views([INNER, TWO, OUTER, *PRESENT], [])[3:] == [
        f"CREATE OR REPLACE VIEW inner_now AS\nSELECT * FROM facts WHERE at <= {LAST}",
        f"CREATE OR REPLACE VIEW two_now AS\nSELECT {LAST}, {LAST}",
        "CREATE OR REPLACE VIEW outer_now AS\nSELECT * FROM inner_now AS one\nJOIN two_now AS two",
    ]


def test_text_of_an_earlier_migration_counts_until_a_later_one_says_otherwise() -> None:
    later = INNER.replace("facts", "other_facts")
    assert with_present_views(PRESENT[:1], [INNER])[0].endswith(f"FROM facts WHERE at <= {LAST}")
    assert with_present_views([later, PRESENT[0]], [INNER])[1].endswith(f"FROM other_facts WHERE at <= {LAST}")


def test_other_statements_stay_as_they_are() -> None:
    assert with_present_views([INNER, "CREATE TABLE facts (at DateTime)"], []) == [
        INNER,
        "CREATE TABLE facts (at DateTime)",
    ]


def test_present_that_asks_a_view_without_one_is_our_mistake() -> None:
    with pytest.raises(KeyError, match="inner_as_of"):
        with_present_views([INNER, TWO, OUTER, *PRESENT[1:]], [])


def test_present_views_ask_no_view_of_a_moment() -> None:
    """One that does is analyzed twice as often for each view that it is deep."""
    assert [statement for statement in migrations()[-1].statements if "_as_of" in statement] == []
