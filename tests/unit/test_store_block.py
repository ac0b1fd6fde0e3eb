"""Rows as JSON in, columns for the native protocol out."""

import pytest

from store.block import BlockShape
from store.errors import BadRows

SHAPE = BlockShape(
    {
        "project_id": "LowCardinality(String)",
        "user_id": "Nullable(String)",
        "timestamp": "DateTime64(3, 'UTC')",
        "sent_at": "Nullable(DateTime64(3, 'UTC'))",
        "properties": "JSON(max_dynamic_paths=256)",
        "properties_text": "String",
        "headers": "Map(String, String)",
        "warnings": "Array(String)",
        "source_offset": "Int64",
        "raw": "String",
    }
)


def test_instants_become_integers() -> None:
    rows = [b'{"timestamp":1790000000.123,"sent_at":null}', b'{"timestamp":-1.5,"sent_at":1790000000}']
    assert SHAPE.block(rows) == {"timestamp": [1790000000123, -1500], "sent_at": [None, 1790000000000]}


def test_json_columns_travel_as_text_under_another_name() -> None:
    assert SHAPE.block([b'{"properties":{ "a" : 1 }}', b'{"raw":"x"}']) == {
        "properties_text": [b'{ "a" : 1 }', b"{}"],
        "raw": [b"", b"x"],
    }


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        (b'{ "a" : "\\u00e9" }', b'{ "a" : "\\u00e9" }'),
        (b'"\\u00e9\\n"', "é\n".encode()),
        (b'"\xff\\u0000"', b"\xff\0"),
        (b'"plain"', b"plain"),
        (b"[1, 2]", b"[1, 2]"),
        (b"null", b""),
    ],
)
def test_text_column_takes_what_json_rows_would_store(written: bytes, stored: bytes) -> None:
    assert SHAPE.block([b'{"raw":' + written + b"}"]) == {"raw": [stored]}


def test_column_that_no_row_mentions_is_left_to_the_tables_default() -> None:
    assert list(SHAPE.block([b'{"project_id":"p","user_id":null}'])) == ["project_id"]


def test_maps_keep_bytes_that_are_not_utf_8() -> None:
    assert SHAPE.block([b'{"headers":{"a":"\xff"}}', b"{}"]) == {"headers": [{b"a": b"\xff"}, {}]}


@pytest.mark.parametrize(
    "row",
    [b'{"unheard_of":1}', b'{"timestamp":"today"}', b'{"warnings":"one"}', b'{"raw":', b"[]", b'{"raw":"\\ud800"}'],
    ids=["unknown member", "text for an instant", "text for a list", "cut off", "no object", "lone surrogate"],
)
def test_row_that_does_not_fit_is_a_bad_row(row: bytes) -> None:
    with pytest.raises(BadRows):
        SHAPE.block([b'{"project_id":"p"}', row])
