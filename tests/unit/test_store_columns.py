"""Type names taken apart, values of JSON formats as Python's, parameters as text, addresses read."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from store.address import Address, address_of
from store.client import open_store
from store.columns import Type, element_type, insertable, quoted, type_of
from store.errors import StoreFailure
from store.text_formats import writer
from store.values import as_parameter, reader


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("String", Type("String")),
        ("LowCardinality(Nullable(String))", Type("String", (), is_nullable=True)),
        ("Nullable(DateTime64(3, 'UTC'))", Type("DateTime64", ("3", "'UTC'"), is_nullable=True)),
        ("Map(String, Array(Tuple(a UInt8, b String)))", Type("Map", ("String", "Array(Tuple(a UInt8, b String))"))),
        ("Enum8('a,(' = 1, 'it\\'s' = 2)", Type("Enum8", ("'a,(' = 1", "'it\\'s' = 2"))),
    ],
)
def test_type_is_read_through_its_wrappers(written: str, expected: Type) -> None:
    assert type_of(written) == expected


def test_element_of_a_tuple_may_have_a_name() -> None:
    assert [
        element_type(written) for written in ("UInt8", "a UInt8", "Array(Tuple(a Int8))", "`x` Map(String, Int8)")
    ] == [
        "UInt8",
        "UInt8",
        "Array(Tuple(a Int8))",
        "Map(String, Int8)",
    ]


def test_computed_columns_take_no_values() -> None:
    rows = [
        {"name": name, "type": "String", "default_type": kind}
        for name, kind in [("a", ""), ("b", "DEFAULT"), ("c", "EPHEMERAL"), ("d", "MATERIALIZED"), ("e", "ALIAS")]
    ]
    assert list(insertable(rows)) == ["a", "b", "c"]


def test_name_is_quoted_whatever_is_in_it() -> None:
    assert quoted("a`b\\") == "`a\\`b\\\\`"


@pytest.mark.parametrize(
    ("written", "given", "expected"),
    [
        ("DateTime64(3, 'UTC')", "2026-09-21T14:13:20.123Z", datetime(2026, 9, 21, 14, 13, 20, 123000, tzinfo=UTC)),
        ("Nullable(UUID)", None, None),
        ("UUID", "61f0c404-5cb3-11e7-907b-a6006ad3dba0", UUID("61f0c404-5cb3-11e7-907b-a6006ad3dba0")),
        ("Array(Nullable(Decimal(9, 2)))", ["1.50", None], [Decimal("1.50"), None]),
        ("Tuple(UInt8, String)", [1, "x"], (1, "x")),
        ("Tuple(a UInt8, b Float64)", {"a": 1, "b": "nan"}, (1, pytest.approx(float("nan"), nan_ok=True))),
        ("Map(String, Float32)", {"a": "-inf"}, {"a": float("-inf")}),
        ("JSON(max_dynamic_paths=8)", {"a": [1]}, {"a": [1]}),
    ],
)
def test_json_value_becomes_pythons(written: str, given: Any, expected: Any) -> None:
    assert reader(written)(given) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\\N"),
        ("a\tb\\c'", "a\\tb\\\\c'"),
        (-1, "-1"),
        (["it's", None, 1, "\n"], "['it\\'s',NULL,1,'\\n']"),
        (datetime(2026, 1, 1, 12, tzinfo=UTC), "2026-01-01 12:00:00.000000"),
    ],
)
def test_parameter_is_written_as_the_server_reads_it(value: object, text: str) -> None:
    assert as_parameter(value) == text


def test_address_is_read_whole() -> None:
    assert address_of("clickhouses://us%40er:p%2Fw@db.example:1/name") == Address(
        "db.example", 1, "us@er", "p/w", "name", is_secure=True
    )


def test_address_has_defaults() -> None:
    assert address_of("http://[::1]") == Address("::1", 8123, "default", "", "whipstitch", is_secure=False)
    assert str(address_of("http://[::1]")) == "[::1]:8123/whipstitch"


def test_password_is_never_shown() -> None:
    address = address_of("http://user:secret@host")
    assert "secret" not in f"{address} {address!r}"


@pytest.mark.parametrize("url", ["http://", "clickhouse://host:port/db", "redis://host/db", "embedded"])
def test_address_that_is_none_is_refused_with_the_setting_to_correct(url: str) -> None:
    with pytest.raises(StoreFailure, match="WHIPSTITCH_STORE"):
        open_store(url)


def test_unwritten_format_is_refused_with_those_that_are_written() -> None:
    with pytest.raises(StoreFailure, match="JSONEachRow"):
        writer("Parquet")


def test_nested_values_are_json_in_text_formats() -> None:
    (line,) = writer("TabSeparated")(["a", "b"], [[{"x": [1, None]}, "t\tb"]])
    assert line == b'{"x":[1,null]}\tt\\tb\n'
