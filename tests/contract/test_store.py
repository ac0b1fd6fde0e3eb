"""What every store does alike: HTTP to the embedded store, the native protocol to Debian's ClickHouse 18.16."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import pytest

from embedded.process import free_port
from store.address import address_of
from store.client import BadRows, Store, StoreFailure, StoreUnavailable, open_store
from store.http import HttpStore
from store.native import NativeStore
from tests.fixtures.clickhouse import MODERN, NO_MODERN, Debian, Embedded, Server, running_debian, running_embedded
from tests.waiting import eventually

COLUMNS = "id String, n Int32, ratio Float64, owner Nullable(String), tags Array(String), raw String"
ROWS = [
    b'{"id":"a","n":1,"ratio":0.5,"owner":null,"tags":["x","\xc3\xa9"],"raw":{ "a" : [1, "\\u00e9"] }}',
    b'{"id":"b\\n\\"","n":-2,"ratio":2,"owner":"o","tags":[],"raw":"\\u00e9 as text"}',
]
STORED = [
    {"id": "a", "n": 1, "ratio": 0.5, "owner": None, "tags": ["x", "é"], "raw": '{ "a" : [1, "\\u00e9"] }'},
    {"id": 'b\n"', "n": -2, "ratio": 2.0, "owner": "o", "tags": [], "raw": "é as text"},
]


@dataclass(frozen=True)
class Place:
    """A store and a table of its own in it. `server` can be killed; None for one that is not ours."""

    store: Store
    table: str
    url: str
    server: Server | None

    def rows(self) -> list[dict[str, object]]:
        return self.store.query(f"SELECT * FROM {self.table} ORDER BY id")


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    with running_debian(tmp_path_factory.mktemp("debian")) as server:
        yield server


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with running_embedded(tmp_path_factory.mktemp("embedded")) as server:
        yield server


@pytest.fixture(
    params=["http", "native", pytest.param("modern", marks=pytest.mark.skipif(not MODERN, reason=NO_MODERN))]
)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    server: Server | None = None
    if request.param != "modern":
        server = request.getfixturevalue({"http": "embedded", "native": "debian"}[request.param])
    url = server.url if server else str(MODERN)
    store = open_store(url)
    store.create_database()
    table = f"t_{uuid4().hex}"
    store.command(f"CREATE TABLE {table} ({COLUMNS}) ENGINE = MergeTree ORDER BY id")
    yield Place(store, table, url, server)
    store.command(f"DROP TABLE {table}")
    store.close()


@pytest.fixture
def killable(place: Place) -> Server:
    if place.server is None:
        pytest.skip("the server that was given is not ours to kill")
    return place.server


def is_old(place: Place) -> bool:
    return "18.16" in str(place.store.query("SELECT version() AS version")[0]["version"])


def test_rows_come_back_as_they_were_given(place: Place) -> None:
    place.store.insert(place.table, ROWS, "token")
    assert place.rows() == STORED


@pytest.mark.parametrize("times", [1, 2000], ids=["small", "large"])
def test_rows_may_come_as_blocks_of_lines(place: Place, times: int) -> None:
    block = b"\n".join(ROWS * times)
    place.store.insert(place.table, [block, ROWS[0], block], "token")
    counted = place.store.query(f"SELECT id, count() AS rows FROM {place.table} GROUP BY id ORDER BY id")
    assert [(row["id"], row["rows"]) for row in counted] == [("a", 2 * times + 1), ('b\n"', 2 * times)]


def test_members_that_no_row_has_get_the_columns_default(place: Place) -> None:
    place.store.command(f"ALTER TABLE {place.table} ADD COLUMN note String DEFAULT 'none'")
    place.store.insert(place.table, [b'{"id":"a"}'], "token")
    assert place.rows() == [
        {"id": "a", "n": 0, "ratio": 0.0, "owner": None, "tags": [], "raw": "", "note": "none"},
    ]


@pytest.mark.parametrize(
    "row",
    [b'{"id":"a","n":"many"}', b'{"id":"a","unheard_of":1}', b'{"id":"a"', b'"a"', b'{"id":"a","n":"\xff"}'],
    ids=["wrong type", "unknown member", "cut off", "no object", "not UTF-8"],
)
def test_row_that_does_not_fit_is_refused_and_nothing_of_the_insert_is_stored(place: Place, row: bytes) -> None:
    with pytest.raises(BadRows):
        place.store.insert(place.table, [*ROWS, row], "token")
    assert place.rows() == []


def test_unknown_table_is_a_failure_that_names_the_migrations(place: Place) -> None:
    with pytest.raises(StoreFailure, match="whipstitch migrate") as raised:
        place.store.insert("unheard_of", ROWS, "token")
    assert raised.value.code == 60


def test_unknown_database_is_a_failure_that_names_the_migrations(place: Place) -> None:
    parts = urlsplit(place.url)
    elsewhere = open_store(urlunsplit(parts._replace(path="/unheard_of")))
    with pytest.raises(StoreFailure, match="whipstitch migrate") as raised:
        elsewhere.query("SELECT * FROM something")
    assert raised.value.code == 81
    elsewhere.close()


@pytest.mark.parametrize(("sql", "code"), [("SELEC 1", 62), ("SELECT toInt32('x')", 6)])
def test_statement_that_is_wrong_is_a_failure_and_no_bad_row(place: Place, sql: str, code: int) -> None:
    with pytest.raises(StoreFailure) as raised:
        place.store.query(sql)
    assert raised.value.code == code


def test_message_is_one_line_without_the_password(place: Place) -> None:
    with pytest.raises(StoreFailure) as raised:
        place.store.command("SELEC 1")
    assert "\n" not in str(raised.value)
    assert "word" not in str(raised.value)


def test_too_little_memory_is_worth_a_retry(place: Place) -> None:
    if is_old(place):
        pytest.skip("18.16 has no memory limit in a query's own SETTINGS")
    with pytest.raises(StoreUnavailable) as raised:
        place.store.query("SELECT groupArray(number) FROM numbers(3000000) SETTINGS max_memory_usage = 1000000")
    assert raised.value.code == 241


def test_too_many_parts_is_worth_a_retry(place: Place) -> None:
    table = f"{place.table}_parts"
    settings = "parts_to_delay_insert = 1, parts_to_throw_insert = 1"
    place.store.command(f"CREATE TABLE {table} ({COLUMNS}) ENGINE = MergeTree ORDER BY id SETTINGS {settings}")
    place.store.command(f"INSERT INTO {table} (id) SELECT 'first'")
    with pytest.raises(StoreUnavailable) as raised:
        place.store.command(f"INSERT INTO {table} (id) SELECT 'second'")
    assert raised.value.code == 252
    with pytest.raises(StoreUnavailable) as raised:
        place.store.insert(table, ROWS, "rows that can be read, and find no room")
    assert raised.value.code == 252
    place.store.command(f"DROP TABLE {table}")


def test_server_that_is_not_there_is_worth_a_retry(place: Place) -> None:
    parts = urlsplit(place.url)
    absent = open_store(urlunsplit(parts._replace(netloc=f"127.0.0.1:{free_port()}")))
    for call in (absent.ping, lambda: absent.query("SELECT 1"), lambda: absent.insert("t", ROWS, "token")):
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
            call()
    absent.close()


def test_same_store_goes_on_after_its_server_was_killed(place: Place, killable: Server) -> None:
    place.store.insert(place.table, ROWS[:1], "first")
    killable.kill()
    try:
        with pytest.raises(StoreUnavailable):
            place.store.insert(place.table, ROWS[1:], "second")
    finally:
        killable.start()
    place.store.insert(place.table, ROWS[1:], "second")
    assert place.rows() == STORED


def test_server_killed_in_the_middle_of_a_query_is_worth_a_retry(place: Place, killable: Server) -> None:
    slow = "SELECT count() FROM numbers(100000000000) WHERE NOT ignore(sipHash64(number))"
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(place.store.query, slow)
        eventually(asked.running, "the query is asked")
        killable.kill()
        with pytest.raises(StoreUnavailable):
            asked.result(timeout=30)
    killable.start()
    place.store.ping()


def test_server_that_is_too_slow_is_worth_a_retry(place: Place) -> None:
    address = address_of(place.url)
    is_native = isinstance(place.store, NativeStore)
    impatient = NativeStore(address, timeout_s=0.2) if is_native else HttpStore(address, timeout_s=0.2)
    with pytest.raises(StoreUnavailable):
        impatient.query("SELECT sleep(1)")
    assert impatient.query("SELECT 1 AS one") == [{"one": 1}]
    impatient.close()


def test_many_threads_share_one_store(place: Place) -> None:
    with ThreadPoolExecutor(8) as pool:
        for inserted in [
            pool.submit(place.store.insert, place.table, [b'{"id":"%03d"}' % number], str(number))
            for number in range(40)
        ]:
            inserted.result()
    assert [row["id"] for row in place.rows()] == [f"{number:03d}" for number in range(40)]


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("TabSeparated", 'a\t1\t\\N\nb\\n"\t-2\to\n'),
        ("CSVWithNames", '"id","n","owner"\n"a",1,\\N\n"b\n""",-2,"o"\n'),
        ("JSONEachRow", '{"id":"a","n":1,"owner":null}\n{"id":"b\\n\\"","n":-2,"owner":"o"}\n'),
    ],
)
def test_answer_streams_in_a_format(place: Place, format: str, text: str) -> None:
    place.store.insert(place.table, ROWS, "token")
    streamed = b"".join(place.store.stream(f"SELECT id, n, owner FROM {place.table} ORDER BY id", format)).decode()
    assert streamed == text


def test_stream_that_is_given_up_leaves_the_store_usable(place: Place) -> None:
    answer = place.store.stream("SELECT number FROM numbers(1000000)", "TabSeparated")
    assert next(answer)
    answer.close()  # type: ignore[attr-defined]
    assert place.store.query("SELECT 1 AS one") == [{"one": 1}]


def test_parameters_reach_the_query_whatever_is_in_them(place: Place) -> None:
    if is_old(place):
        pytest.skip("18.16 knows no query parameters")
    odd = "a\\b'\"\n\té{x}"
    sql = "SELECT {text:String} AS text, {list:Array(String)} AS list, {n:Int64} AS n, {none:Nullable(String)} AS none"
    asked = {"text": odd, "list": [odd, ""], "n": -1, "none": None}
    assert place.store.query(sql, asked) == [asked]


def test_values_are_pythons_own(place: Place) -> None:
    if is_old(place):
        pytest.skip("18.16 knows neither DateTime64 nor JSON")
    asked = """
        SELECT toDateTime64(1790000000.123, 3, 'UTC') AS instant, toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0') AS id,
            18446744073709551615::UInt64 AS large, [toNullable(1), NULL] AS list, ('x', 1) AS pair, map('k', 1) AS map,
            '{"a":{"b":1}}'::JSON AS json, true AS yes, NULL AS nothing
    """
    assert place.store.query(asked) == [
        {
            "instant": datetime(2026, 9, 21, 14, 13, 20, 123000, tzinfo=UTC),
            "id": UUID("61f0c404-5cb3-11e7-907b-a6006ad3dba0"),
            "large": 2**64 - 1,
            "list": [1, None],
            "pair": ("x", 1),
            "map": {"k": 1},
            "json": {"a": {"b": 1}},
            "yes": True,
            "nothing": None,
        }
    ]


def test_repeat_of_an_insert_is_dropped_by_its_token(place: Place) -> None:
    if is_old(place):
        pytest.skip("18.16 knows no deduplication tokens")
    table = f"{place.table}_tokens"
    window = "SETTINGS non_replicated_deduplication_window = 10"
    place.store.command(f"CREATE TABLE {table} ({COLUMNS}) ENGINE = MergeTree ORDER BY id {window}")
    for token in ("one", "one", "two"):
        place.store.insert(table, ROWS, token)
    assert place.store.query(f"SELECT count() AS rows FROM {table}") == [{"rows": 4}]
    place.store.command(f"DROP TABLE {table}")


@pytest.mark.parametrize("wire", ["native", "http"])
def test_wrong_password_is_a_failure_that_names_the_setting(debian: Debian, wire: str) -> None:
    url = debian.url if wire == "native" else debian.http_url
    store = open_store(url.replace("p%40ss", "guess"))
    with pytest.raises(StoreFailure, match="WHIPSTITCH_STORE") as raised:
        store.ping()
    assert raised.value.code == 193
    assert "guess" not in str(raised.value)
    store.close()


def test_right_password_is_taken_whatever_is_in_it(debian: Debian) -> None:
    for url in (debian.url, debian.http_url):
        store = open_store(url)
        store.ping()
        store.close()
