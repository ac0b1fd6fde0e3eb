"""The store as a process: what it keeps through a kill, what it does with clients that leave, how it stops."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import urllib3

from embedded.clickhouse_http import MAX_RUNNING
from embedded.errors import EmbeddedError
from embedded.process import free_port
from embedded.store import RunningStore, running_store_url, start_store
from tests.waiting import eventually

HTTP = urllib3.PoolManager(retries=False, maxsize=8)
CREATE = """CREATE TABLE kept (a UInt64, b String) ENGINE = MergeTree ORDER BY a
            SETTINGS non_replicated_deduplication_window = 100"""


def ask(url: str, query: str, target: str = "/") -> str:
    answer = HTTP.request("POST", url + target, body=query.encode())
    assert answer.status == 200, answer.data
    return answer.data.decode().strip()


def sent(url: str, query: str, body: bytes, promised: int | None = None) -> socket.socket:
    """A request on a connection of its own, whose answer nobody has read yet."""
    where = urlsplit(url)
    assert where.hostname is not None
    connection = socket.create_connection((where.hostname, where.port or 0), timeout=30)
    head = f"POST /?query={quote(query)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {promised or len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def running(url: str, part: str) -> int:
    return int(
        ask(url, f"SELECT count() FROM system.processes WHERE query LIKE '%{part}%' AND query NOT LIKE '%system%'")
    )


def test_the_database_can_be_dropped_and_made_again(start: Callable[[], RunningStore]) -> None:
    store = start()
    ask(store.url, CREATE)
    ask(store.url, "DROP DATABASE whipstitch SYNC")
    ask(store.url, "CREATE DATABASE whipstitch", "/?database=default")
    ask(store.url, CREATE)
    assert ask(store.url, "SELECT count() FROM kept") == "0"


def test_what_was_answered_survives_a_kill(start: Callable[[], RunningStore]) -> None:
    store = start()
    ask(store.url, CREATE)
    for number in range(20):
        ask(store.url, f"INSERT INTO kept VALUES ({number}, 'x')", f"/?insert_deduplication_token={number}")
    store.process.kill()
    store.process.wait()
    store.stop()

    again = start()
    ask(again.url, "INSERT INTO kept VALUES (19, 'x')", "/?insert_deduplication_token=19")

    assert ask(again.url, "SELECT count(), sum(a) FROM kept") == "20\t190"


def test_insert_cut_by_a_kill_is_there_whole_or_not_at_all(start: Callable[[], RunningStore]) -> None:
    store = start()
    ask(store.url, CREATE)
    rows = b"".join(b"%d,x\n" % number for number in range(50_000))
    connections = [sent(store.url, "INSERT INTO kept FORMAT CSV", rows) for _ in range(4)]
    eventually(lambda: int(ask(store.url, "SELECT count() FROM kept")) > 0, "the first of the inserts is stored")
    store.process.kill()
    store.process.wait()
    store.stop()
    for connection in connections:
        connection.close()

    assert int(ask(start().url, "SELECT count() FROM kept")) % 50_000 == 0


def test_stop_lets_a_running_query_finish(start: Callable[[], RunningStore]) -> None:
    store = start()
    answers: list[str] = []
    query = threading.Thread(target=lambda: answers.append(ask(store.url, "SELECT sleep(1.5), 'done'")))
    query.start()
    eventually(lambda: running(store.url, "done") > 0, "the query runs")

    assert store.stop()
    query.join()

    assert answers == ["0\tdone"]
    assert store.process.returncode == 0
    with pytest.raises(urllib3.exceptions.HTTPError):
        HTTP.request("GET", f"{store.url}/ping")


def test_second_store_on_a_folder_is_refused_and_says_who_has_it(
    start: Callable[[], RunningStore], tmp_path: Path
) -> None:
    store = start()

    with pytest.raises(EmbeddedError, match="in use by process"):
        start()

    assert running_store_url(tmp_path) == store.url
    store.stop()
    assert running_store_url(tmp_path) is None


def test_store_left_behind_is_stopped_first(start: Callable[[], RunningStore]) -> None:
    left = start()
    ask(left.url, CREATE)
    left.lock.release()

    again = start()

    assert left.process.wait(10) == 0
    assert ask(again.url, "SELECT count() FROM kept") == "0"


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(EmbeddedError, match="file"):
        start_store(tmp_path / "file", progress=print, preferred_port=None)


def test_stores_that_start_at_one_moment_never_answer_for_each_other(tmp_path: Path) -> None:
    port = free_port()
    with ThreadPoolExecutor(2) as threads:  # a store ends with the thread that started it
        stores = list(threads.map(lambda name: start_store(tmp_path / name, print, preferred_port=port), "ab"))
        for store in stores:
            ask(store.url, CREATE)
        assert len({store.url for store in stores}) == 2
        assert [store.stop() for store in stores] == [True, True]


def test_folder_with_any_name_can_be_used(tmp_path: Path) -> None:
    store = start_store(tmp_path / "a b?c=d&e'%20#", progress=print, preferred_port=None)

    assert ask(store.url, "SELECT 1") == "1"
    assert store.stop()


def test_query_of_a_client_that_left_is_killed(store_url: str) -> None:
    connection = sent(store_url, "SELECT sum(sipHash64(number, 'left')) FROM numbers(1000000000000)", b"")
    eventually(lambda: running(store_url, "left") == 1, "the query runs")
    connection.close()

    eventually(lambda: running(store_url, "left") == 0, "the query is gone")


def test_insert_of_a_client_that_left_stores_nothing(store_url: str) -> None:
    ask(store_url, "CREATE TABLE left_early (a UInt64) ENGINE = MergeTree ORDER BY a")
    rows = b"1\n" * 100_000
    connection = sent(store_url, "INSERT INTO left_early FORMAT TSV", rows[:-2], promised=len(rows))
    connection.close()

    ask(store_url, "INSERT INTO left_early FORMAT TSV\n2")
    assert ask(store_url, "SELECT count(), max(a) FROM left_early") == "1\t2"


def test_more_requests_than_the_bound_are_refused_and_told_to_retry(start: Callable[[], RunningStore]) -> None:
    store = start()
    unfinished = [sent(store.url, "INSERT INTO kept FORMAT TSV", b"1", promised=2) for _ in range(MAX_RUNNING)]

    def refused() -> bool:
        answer = HTTP.request("POST", store.url, body=b"SELECT 1")
        return (answer.status, answer.headers.get("X-ClickHouse-Exception-Code")) == (503, "202")

    eventually(refused, "a request beyond the bound is refused")
    assert HTTP.request("GET", f"{store.url}/ping").status == 200
    for connection in unfinished:
        connection.close()
    eventually(lambda: not refused(), "requests are taken again")


def test_parts_are_merged_in_the_background(store_url: str) -> None:
    ask(store_url, "CREATE TABLE merged (a UInt64) ENGINE = MergeTree ORDER BY a")
    for number in range(30):
        ask(store_url, f"INSERT INTO merged VALUES ({number})")

    active = "SELECT count() FROM system.parts WHERE active AND table = 'merged'"
    eventually(lambda: int(ask(store_url, active)) < 30, "some parts are merged")
    assert ask(store_url, "SELECT count() FROM merged") == "30"
