"""Where the data of an insert and the FORMAT of an answer begin."""

import pytest

from embedded.clickhouse_sql import InsertHead, Parts, first_words, insert_head, parts, writes_file


@pytest.mark.parametrize(
    ("text", "statement", "format", "data"),
    [
        (b"insert into t format JSONEachRow\n{}", b"insert into t ", "JSONEachRow", b"{}"),
        (b"INSERT INTO t (a, b) VALUES (1,2)", b"INSERT INTO t (a, b) ", "Values", b" (1,2)"),
        (b"insert into `format x`.t FORMAT CSV  1,2", b"insert into `format x`.t ", "CSV", b"1,2"),
        (b"insert into values values (1)", b"insert into values ", "Values", b" (1)"),
        (b"insert into format format CSV\n", b"insert into format ", "CSV", b""),
        (b"insert into function f('CSV') format CSV\n1", b"insert into function f('CSV') ", "CSV", b"1"),
        (b"insert into t set a='format' format Native\r\n\xff", b"insert into t set a='format' ", "Native", b"\xff"),
        (b"/* values */ insert into t -- format\n format B\n", b"/* values */ insert into t -- format\n ", "B", b""),
        (b"insert into table t (* except(a)) format TSV", b"insert into table t (* except(a)) ", "TSV", b""),
        (b"insert into t format CSV\n\n1", b"insert into t ", "CSV", b"\n1"),
    ],
)  # fmt: skip
def test_rows_of_an_insert_begin_after_its_format(text: bytes, statement: bytes, format: str, data: bytes) -> None:
    head = insert_head(text)

    assert head == InsertHead(statement, b"", format, len(text) - len(data))


def test_settings_of_an_insert_stand_apart_as_its_rows_are_named_before_them() -> None:
    statement, settings = b"insert into settings (settings) ", b"settings a = 'format', b = 1 "
    text = statement + settings + b"format CSV\n1"

    assert insert_head(text) == InsertHead(statement, settings, "CSV", len(text) - 1)


@pytest.mark.parametrize(
    "text",
    [
        b"insert into t select 1 format CSV",
        b"insert into t with 1 as x select x",
        b"insert into t (select 1)",
        b"insert into t",
        b"select 'insert into t values'",
        b"-- insert into t format CSV",
        b"",
    ],
)
def test_statement_without_rows_of_its_own_has_no_insert_head(text: bytes) -> None:
    assert insert_head(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"select 1 format JSON", Parts(b"select 1", "JSON", b"format JSON")),
        (b"select 1 ; -- the end", Parts(b"select 1", None, b"")),
        (b"select 1 FORMAT JSON SETTINGS a = 1;", Parts(b"select 1", "JSON", b"FORMAT JSON SETTINGS a = 1")),
        (b"select 1 settings a = 1 format CSV", Parts(b"select 1 settings a = 1", "CSV", b"format CSV")),
        (b"select format from t", Parts(b"select format from t", None, b"")),
        (b"select 'x format JSON'", Parts(b"select 'x format JSON'", None, b"")),
        (b"select (select 1 format JSON)", Parts(b"select (select 1 format JSON)", None, b"")),
        (b"select $x$ format JSON $x$ format CSV", Parts(b"select $x$ format JSON $x$", "CSV", b"format CSV")),
        (b"select 'it''s \\' format' format TSV", Parts(b"select 'it''s \\' format'", "TSV", b"format TSV")),
        (b"select 1 # format CSV\n", Parts(b"select 1", None, b"")),
        (b"", Parts(b"", None, b"")),
    ],
)
def test_only_a_format_at_the_end_of_a_statement_is_its_format(text: bytes, expected: Parts) -> None:
    assert parts(text) == expected


def test_outfile_is_seen_outside_of_quotes_only() -> None:
    assert writes_file(b"select 1 /* x */ into /* y */ outfile 'a'")
    assert not writes_file(b"select 'into outfile'")


def test_first_words_pass_over_comments() -> None:
    assert first_words(b"-- select\n (select 1)") == ["(", "SELECT"]
    assert first_words(b" /* nothing */ ") == []
