"""What clients of ClickHouse's HTTP interface rely on, held by the clickhouse-connect client and by plain HTTP."""

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import quote
from uuid import uuid4

import clickhouse_connect
import cramjam
import lz4.frame
import pytest
import urllib3
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from embedded.clickhouse_coding import Blocks, blocks

COLUMNS = (
    "id UInt64, name Nullable(String), at DateTime64(3, 'UTC'), tags Array(LowCardinality(String)), "
    "facts Map(String, Float64), amount Decimal(18, 4), properties JSON"
)
ROWS = [
    [1, "Ada", datetime(2026, 1, 2, 3, 4, 5, 678000), ["x", "y"], {"k": 1.5}, Decimal("1.2345"), {"plan": {"tier": 1}}],
    [2, None, datetime(1970, 1, 1), [], {}, Decimal("0.0000"), {"b": "q"}],
]


@pytest.fixture(scope="module")
def client(store_url: str) -> Iterator[Client]:
    client = clickhouse_connect.get_client(dsn=f"{store_url}/whipstitch", username="any", password="any")
    yield client
    client.close()


@pytest.fixture
def table(client: Client) -> Iterator[str]:
    name = f"t_{uuid4().hex}"
    client.command(f"CREATE TABLE {name} ({COLUMNS}) ENGINE = MergeTree ORDER BY id")
    yield name
    client.command(f"DROP TABLE {name}")


class Http:
    """Requests as curl would send them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(retries=False)

    def get(self, target: str, **headers: str) -> urllib3.BaseHTTPResponse:
        return self._pool.request("GET", self._url + target, headers=headers)

    def post(self, body: bytes | str, target: str = "/", **headers: str) -> urllib3.BaseHTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._pool.request("POST", self._url + target, body=body, headers=named, decode_content=False)


@pytest.fixture(scope="module")
def http(store_url: str) -> Http:
    return Http(store_url)


def test_native_rows_come_back_as_inserted(client: Client, table: str) -> None:
    inserted = client.insert(table, ROWS)

    assert inserted.written_rows == 2
    assert [list(row) for row in client.query(f"SELECT * FROM {table} ORDER BY id").result_rows] == ROWS


def test_empty_result_still_names_its_columns(client: Client, table: str) -> None:
    result = client.query(f"SELECT id, name FROM {table} WHERE id = 0")

    assert result.result_rows == []
    assert client.query(f"SELECT * FROM {table} LIMIT 0").column_names[:2] == ("id", "name")


@pytest.mark.parametrize("value", ["tab\there", "it's", "back\\slash", "line\nbreak", "ünï", "", "x" * 20_000])
def test_parameter_arrives_as_it_was_given(client: Client, value: str) -> None:
    assert client.query("SELECT {v:String}", parameters={"v": value}).result_rows == [(value,)]


def test_typed_parameters_arrive(client: Client) -> None:
    given = {"ids": ["a'b", "c\\d"], "at": datetime(2026, 1, 1)}

    assert client.query("SELECT {ids:Array(String)}, {at:DateTime}", parameters=given).result_rows == [
        (["a'b", "c\\d"], datetime(2026, 1, 1))
    ]


def test_raw_insert_and_raw_query_keep_their_format(client: Client, table: str) -> None:
    client.raw_insert(table, ["id", "name"], b'{"id":7,"name":"Eve"}\n', fmt="JSONEachRow")

    assert client.raw_query(f"SELECT id, name FROM {table}", fmt="JSONEachRow") == b'{"id":7,"name":"Eve"}\n'


@pytest.mark.parametrize("compression", ["lz4", "zstd", "gzip", False])
def test_client_may_compress_both_ways(store_url: str, table: str, compression: str | bool) -> None:
    with clickhouse_connect.get_client(dsn=f"{store_url}/whipstitch", compress=compression) as client:
        client.insert(table, [[number] for number in range(5000)], column_names=["id"])

        assert client.query(f"SELECT count(), sum(id) FROM {table}").result_rows == [(5000, 12497500)]
        assert len(client.query("SELECT number FROM numbers(100000)").result_rows) == 100_000


def test_long_result_is_streamed(client: Client) -> None:
    with client.query_row_block_stream("SELECT number FROM numbers(1000000)") as stream:
        assert sum(number for block in stream for (number,) in block) == 499_999_500_000

    raw = client.raw_stream("SELECT number FROM numbers(1000000)", fmt="TSV")
    assert sum(chunk.count(b"\n") for chunk in iter(lambda: raw.read(1 << 16), b"")) == 1_000_000


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT * FROM no_such_table", 60),
        ("SELEC 1", 62),
        ("SELECT no_such_column FROM system.one", 47),
        ("SELECT throwIf(number = 900000) FROM numbers(1000000)", 395),
        ("SELECT 1; SELECT 2", 62),
        ("SELECT 1 INTO OUTFILE '/tmp/never'", 358),
    ],
)
def test_error_reaches_the_client_with_its_code(client: Client, query: str, code: int) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.query(query)

    assert caught.value.code == code


def test_setting_holds_for_its_own_query_only(client: Client) -> None:
    query = "SELECT value FROM system.settings WHERE name = 'max_threads'"

    assert client.query(query, settings={"max_threads": 7}).result_rows == [("7",)]
    assert client.query(query).result_rows != [("7",)]


def test_unknown_setting_is_refused_by_name(client: Client) -> None:
    with pytest.raises(DatabaseError, match="no_such_setting") as caught:
        client.query("SELECT 1", settings={"no_such_setting": 1})

    assert caught.value.code == 115


def test_session_statement_is_refused_rather_than_lost(client: Client) -> None:
    with pytest.raises(DatabaseError, match="Sessions are not kept"):
        client.command("SET max_threads = 1")


def test_ping_and_bare_root_say_ok(http: Http) -> None:
    assert (http.get("/ping").status, http.get("/ping").data) == (200, b"Ok.\n")
    assert http.get("/").data == b"Ok.\n"
    assert http.get("/elsewhere").status == 404


def test_query_stands_in_the_url_the_body_or_both(http: Http) -> None:
    assert http.get("/?query=SELECT+1").data == b"1\n"
    assert http.post("SELECT 1").data == b"1\n"
    assert http.post("1", "/?query=SELECT").data == b"1\n"


def test_format_of_the_query_wins_over_the_default(http: Http) -> None:
    assert http.post("SELECT 1 AS a", "/?default_format=JSONEachRow").data == b'{"a":1}\n'
    answer = http.post("SELECT 1 AS a FORMAT CSV", "/?default_format=JSONEachRow", X_ClickHouse_Format="TSV")

    assert answer.data == b"1\n"
    assert answer.headers["X-ClickHouse-Format"] == "CSV"
    assert answer.headers["Content-Type"].startswith("text/csv")


@pytest.mark.parametrize("format", ["CSVWithNames", "TSVWithNamesAndTypes", "JSONCompactEachRowWithNames", "Markdown"])
def test_long_answer_has_its_head_once(http: Http, format: str) -> None:
    answer = http.post(f"SELECT number AS only_once FROM numbers(200000) FORMAT {format}")

    assert answer.data.count(b"only_once") == 1
    assert answer.data.count(b"199999") == 1


def test_long_answer_is_one_whole_document(http: Http) -> None:
    query = "SELECT number FROM numbers(200000) FORMAT"
    parquet = http.post(f"{query} Parquet").data

    assert json.loads(http.post(f"{query} JSON").data)["rows"] == 200_000
    assert (parquet[:4], parquet[-4:], parquet.count(b"PAR1")) == (b"PAR1", b"PAR1", 2)


def test_totals_and_show_statements_answer(http: Http) -> None:
    totals = http.post("SELECT number % 2 AS k, count() FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k")

    assert totals.data == b"0\t5\n1\t5\n\n0\t10\n"
    assert b"whipstitch" in http.post("SHOW DATABASES").data
    assert json.loads(http.post("DESCRIBE (SELECT 1 AS a) FORMAT JSONEachRow").data)["type"] == "UInt8"
    assert http.post("EXPLAIN AST SELECT 1").data.startswith(b"SelectWithUnionQuery")


def test_rows_follow_the_query_in_the_body_or_fill_it(http: Http, table: str) -> None:
    http.post(f"INSERT INTO {table} (id) FORMAT TSV\n1\n2\n")
    http.post(b"3\n4\n", f"/?query={quote(f'INSERT INTO {table} (id) FORMAT TSV')}")
    http.post(f"INSERT INTO {table} (id) VALUES (5), (2 + {{n:UInt8}})", "/?param_n=4")

    assert http.post(f"SELECT groupArray(id) FROM (SELECT id FROM {table} ORDER BY id)").data == b"[1,2,3,4,5,6]\n"


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", cramjam.zlib.compress),
        ("br", cramjam.brotli.compress),
        ("zstd", cramjam.zstd.compress),
        ("lz4", lz4.frame.compress),
    ],
)
def test_compressed_rows_are_stored(http: Http, table: str, encoding: str, compress: Callable[[bytes], bytes]) -> None:
    body = bytes(compress(b"".join(b"%d\n" % number for number in range(10_000))))
    target = f"/?query={quote(f'INSERT INTO {table} (id) FORMAT TSV')}"

    assert http.post(body, target, Content_Encoding=encoding).status == 200
    assert http.post(body[:-20], target, Content_Encoding=encoding).status == 500
    assert http.post(f"SELECT count() FROM {table}").data == b"10000\n"


def test_blocks_of_clickhouse_are_read_and_sent(http: Http, table: str) -> None:
    body = b"".join(blocks(b"1\n2\n"))
    http.post(body, f"/?decompress=1&query={quote(f'INSERT INTO {table} (id) FORMAT TSV')}")

    assert Blocks().feed(http.post(f"SELECT id FROM {table} ORDER BY id", "/?compress=1").data) == b"1\n2\n"


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "lz4"])
def test_answer_is_compressed_when_asked(http: Http, encoding: str) -> None:
    query = "SELECT 'again and again' FROM numbers(100000)"
    answer = http.post(query, "/?enable_http_compression=1", Accept_Encoding=encoding)

    assert answer.headers["Content-Encoding"] == encoding
    assert len(answer.data) < len(http.post(query).data) / 2
    assert "Content-Encoding" not in http.post(query, "/", Accept_Encoding=encoding).headers


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("SELECT * FROM no_such_table", 404, "60"),
        ("SELEC 1", 400, "62"),
        ("", 400, "62"),
        ("SELECT 1 FORMAT NoSuchFormat", 404, "73"),
        ("SELECT throwIf(1)", 500, "395"),
        ("SELECT sleep(1) SETTINGS max_execution_time = 0.1", 408, "159"),
        ("INSERT INTO no_such_table FORMAT TSV\n1", 404, "60"),
    ],
)
def test_refusal_has_clickhouse_status_and_code(http: Http, query: str, status: int, code: str) -> None:
    answer = http.post(query)

    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (status, code)
    assert answer.data.startswith(f"Code: {code}. DB::Exception: ".encode())
    assert b" (version " in answer.data


@pytest.mark.parametrize("statement", ["DROP TABLE {}", "INSERT INTO {} (id) VALUES (1)", "CREATE TABLE x AS {}"])
def test_get_changes_nothing(http: Http, table: str, statement: str) -> None:
    answer = http.get(f"/?query={quote(statement.format(table))}")

    assert answer.headers["X-ClickHouse-Exception-Code"] == "164"
    assert http.post(f"SELECT count() FROM {table}").data == b"0\n"


def test_summary_counts_what_was_read_and_written(http: Http, table: str) -> None:
    written = http.post(f"INSERT INTO {table} (id) VALUES (1), (2)", "/?query_id=mine")
    read = http.post(f"SELECT * FROM {table}")

    assert json.loads(written.headers["X-ClickHouse-Summary"])["written_rows"] == "2"
    assert json.loads(read.headers["X-ClickHouse-Summary"])["read_rows"] == "2"
    assert written.headers["X-ClickHouse-Query-Id"] == "mine"
    assert written.headers["X-ClickHouse-Timezone"] == "UTC"


def test_database_is_chosen_by_parameter_or_header(http: Http) -> None:
    assert http.post("SELECT currentDatabase()").data == b"whipstitch\n"
    assert http.post("SELECT currentDatabase()", "/?database=system").data == b"system\n"
    assert http.post("SELECT currentDatabase()", X_ClickHouse_Database="system").data == b"system\n"
    assert http.post("SELECT 1", "/?database=nowhere").headers["X-ClickHouse-Exception-Code"] == "81"


def test_same_token_stores_the_same_rows_once(http: Http) -> None:
    name = f"t_{uuid4().hex}"
    engine = "MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
    http.post(f"CREATE TABLE {name} (a UInt64) ENGINE = {engine}")
    for token in ("one", "one", "two"):
        assert http.post(f"INSERT INTO {name} VALUES (1)", f"/?insert_deduplication_token={token}").status == 200

    assert http.post(f"SELECT count() FROM {name}").data == b"2\n"
    http.post(f"DROP TABLE {name}")


def test_malformed_row_stores_none_of_its_insert(http: Http, table: str) -> None:
    answer = http.post(f'INSERT INTO {table} (id) FORMAT JSONEachRow\n{{"id":1}}\n{{"id":"x"}}\n')

    assert answer.status == 400
    assert http.post(f"SELECT count() FROM {table}").data == b"0\n"


def test_time_with_a_fraction_is_read_in_utc(http: Http, table: str) -> None:
    http.post(f'INSERT INTO {table} (id, at) FORMAT JSONEachRow {{"id":1,"at":1790000000.123}}')
    (at,) = json.loads(http.post(f"SELECT at FROM {table} FORMAT JSONCompactEachRow").data)

    assert datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() == 1790000000.123


def test_page_of_another_site_is_refused(http: Http) -> None:
    assert http.post("SELECT 1", "/", Origin="https://elsewhere.example").status == 403
