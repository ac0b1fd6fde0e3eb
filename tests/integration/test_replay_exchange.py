"""The exchange of a replay's tables: while inserts go on, in the middle of one, and killed between any two steps."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from replay.catch_up import catch_up
from replay.corrections import Corrections, additions, withdrawals
from replay.exchange import Exchange, uuids
from replay.sides import EVENTS_TABLE, TABLES, Sides
from replay.swap import exchange_tables
from store.client import Store, StoreUnavailable, open_store
from store.migrate import migrate
from store.tables import EDGES, EVENTS, LINKS, PERSONS, REJECTED
from tests.rows import RECEIVED_AT_S, edge_row, event_row, link_row, person_row
from tests.waiting import eventually

FROM_MS = round(RECEIVED_AT_S * 1000) - 1000
TO_MS = FROM_MS + 3_600_000
AFTER_S = TO_MS / 1000 + 1
BEFORE_S = FROM_MS / 1000 - 1
STORED = (EVENTS, LINKS, EDGES, PERSONS, REJECTED)
_names = count()


class Pair(NamedTuple):
    url: str
    live: Store
    shadow: Store
    sides: Sides

    def exchange(self) -> Exchange:
        return Exchange(self.live, self.sides, uuids(self.live, self.sides.shadow))

    def ids(self, where: str = "1") -> list[str]:
        return [
            row["message_id"] for row in self.live.query(f"SELECT message_id FROM events WHERE {where} ORDER BY ALL")
        ]

    def views(self) -> int:
        sql = "SELECT count() AS n FROM system.tables WHERE engine = 'MaterializedView' AND database = {live:String}"
        return int(self.live.query(sql, {"live": self.sides.live})[0]["n"])


@pytest.fixture(scope="module")
def databases(store_url: str) -> Iterator[Pair]:
    names = f"swap_{next(_names)}", f"swap_{next(_names)}"
    live, shadow = (open_store(f"{store_url}/{name}") for name in names)
    for store in (live, shadow):
        migrate(store)
    yield Pair(store_url, live, shadow, Sides(*names, FROM_MS, TO_MS))
    for store, name in zip((live, shadow), names, strict=True):
        store.command(f"DROP DATABASE {name} SYNC")
        store.close()


@pytest.fixture
def pair(databases: Pair) -> Pair:
    """One event before the range, one in it that the replay has otherwise, and one that came since."""
    for store in (databases.live, databases.shadow):
        for table in STORED:
            store.command(f"TRUNCATE TABLE {table}")
    before, after = event_row(message_id="0", received_at=BEFORE_S), event_row(message_id="2", received_at=AFTER_S)
    put(databases.live, before, event_row(message_id="1", event_name="old"), after)
    put(databases.shadow, before, event_row(message_id="1", event_name="new"))
    return databases


def put(store: Store, *rows: bytes, table: str = EVENTS) -> None:
    store.insert(table, rows, str(uuid4()))


def put_as_a_sink(store: Store, rows: Sequence[bytes]) -> None:
    token = str(uuid4())
    for attempt in Retrying(retry=retry_if_exception_type(StoreUnavailable), stop=stop_after_attempt(5), reraise=True):
        with attempt:
            store.insert(EVENTS, rows, token)


def test_replayed_rows_become_live_and_what_came_since_stays(pair: Pair) -> None:
    put(pair.live, link_row(message_id="l", received_at=AFTER_S), table=LINKS)
    put(pair.live, edge_row(message_id="e", received_at=AFTER_S), table=EDGES)
    put(pair.live, person_row(since=AFTER_S, version=7), table=PERSONS)
    exchange_tables(pair.exchange())
    assert pair.ids() == ["0", "1", "2"]
    assert pair.ids("event_name = 'new'") == ["1"]
    for table in (LINKS, EDGES, PERSONS):
        assert pair.live.query(f"SELECT count() AS n FROM {table} FINAL") == [{"n": 1}]
    assert pair.views() == 0


def test_what_the_replay_no_longer_has_does_not_come_back(pair: Pair) -> None:
    put(pair.live, event_row(message_id="refused now"))
    put(pair.live, link_row(message_id="refused now"), table=LINKS)
    exchange_tables(pair.exchange())
    assert pair.ids() == ["0", "1", "2"]
    assert pair.live.query(f"SELECT count() AS n FROM {LINKS}") == [{"n": 0}]


def test_only_the_replays_project_is_exchanged(pair: Pair) -> None:
    put(pair.live, event_row(message_id="3", project_id="q"))
    sides = Sides(pair.sides.live, pair.sides.shadow, FROM_MS, TO_MS, "p")
    exchange_tables(Exchange(pair.live, sides, uuids(pair.live, sides.shadow)))
    assert pair.ids() == ["0", "1", "2", "3"]


def test_exchange_done_twice_changes_nothing_more(pair: Pair) -> None:
    exchange = pair.exchange()
    exchange_tables(exchange)
    put(pair.live, event_row(message_id="3", received_at=AFTER_S))
    exchange_tables(exchange)
    assert pair.ids() == ["0", "1", "2", "3"]
    assert pair.ids("event_name = 'new'") == ["1"]


def test_way_back_brings_the_old_rows_and_what_came_since(pair: Pair) -> None:
    exchange_tables(pair.exchange())
    put(pair.live, event_row(message_id="3", received_at=AFTER_S))
    exchange_tables(pair.exchange())
    assert pair.ids() == ["0", "1", "2", "3"]
    assert pair.ids("event_name = 'old'") == ["1"]


def test_row_inserted_just_before_the_exchange_is_seen_just_after_it(pair: Pair) -> None:
    exchange = pair.exchange()
    exchange.mirror()
    exchange.bring_up()
    put(pair.live, event_row(message_id="3", received_at=AFTER_S))
    exchange.exchange()
    assert pair.ids() == ["0", "1", "2", "3"]
    exchange.bring_up_rest()


def test_row_that_an_insert_stored_before_the_mirror_failed_is_caught_up(pair: Pair) -> None:
    exchange = pair.exchange()
    exchange.mirror()
    exchange.bring_up()
    shadow = pair.sides.of_shadow(EVENTS)
    put(pair.live, event_row(message_id="3", received_at=AFTER_S))
    pair.shadow.command(f"ALTER TABLE {shadow} DELETE WHERE message_id = '3' SETTINGS mutations_sync = 2")
    exchange.exchange()
    assert pair.ids() == ["0", "1", "2"]
    exchange.bring_up_rest()
    assert pair.ids() == ["0", "1", "2", "3"]


def test_insert_that_is_under_way_since_before_the_mirrors_is_waited_for(pair: Pair) -> None:
    slow = threading.Thread(target=pair.live.command, args=(SLOW_INSERT,))
    slow.start()
    running = "SELECT count() AS n FROM system.processes WHERE query LIKE 'INSERT INTO events_stored%slow%'"
    eventually(lambda: pair.live.query(running) == [{"n": 1}], "an insert that is under way")
    exchange_tables(pair.exchange())
    slow.join()
    assert len(pair.ids("startsWith(message_id, 'slow')")) == 6


SLOW_INSERT = f"""
INSERT INTO events_stored (project_id, message_id, type, timestamp, received_at)
SELECT 'p', concat('slow', toString(number)), 'track', now64(3), toDateTime64({AFTER_S}, 3) + sleepEachRow(0.2)
FROM numbers(6) SETTINGS max_block_size = 1, min_insert_block_size_rows = 1
"""


def test_inserts_that_go_on_are_all_there_after_each_of_many_exchanges(pair: Pair) -> None:
    told: list[str] = []
    ended = threading.Event()

    def insert() -> None:
        store = open_store(f"{pair.url}/{pair.sides.live}")
        while not ended.is_set():
            ids = [f"n{len(told) + n}" for n in range(5)]
            put_as_a_sink(store, [event_row(message_id=id_, received_at=AFTER_S) for id_ in ids])
            told.extend(ids)
        store.close()

    inserting = threading.Thread(target=insert)
    inserting.start()
    try:
        for _ in range(4):
            exchange_tables(pair.exchange())
            done = len(told)
            assert {*told[:done]} <= {*pair.ids()}
            eventually(lambda done=done: len(told) > done, "inserts that go on")  # type: ignore[misc]
    finally:
        ended.set()
        inserting.join()
    assert sorted({*pair.ids()}) == sorted({"0", "1", "2", *told})
    assert len(pair.ids()) == len({*pair.ids()})


KILLED = """
import os, signal, sys
from replay import exchange as module
from replay.exchange import Exchange
from replay.sides import Sides
from replay.swap import exchange_tables
from store.client import open_store
url, live, shadow, point, nth, *uuids = sys.argv[1:]
owner, name = (module, "catch_up") if point == "copied" else (Exchange, point)
store = open_store(f"{url}/{live}")
if point == "exchanged":
    owner, name = type(store), "command"
wrapped, calls = getattr(owner, name), [0]
def until(*given, **named):
    result = wrapped(*given, **named)
    if point != "exchanged" or given[1].startswith("EXCHANGE"):
        calls[0] += 1
    if calls[0] == int(nth):
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, name, until)
tables = dict(each.split("=") for each in uuids)
exchange_tables(Exchange(store, Sides(live, shadow, {from_ms}, {to_ms}), tables))
""".replace("{from_ms}", str(FROM_MS)).replace("{to_ms}", str(TO_MS))

POINTS = [
    *(("bring_up", 1), ("exchange", 1), ("exchanged", 3), ("copied", 8)),
    *(
        pytest.param(*point, marks=pytest.mark.long)
        for point in (("mirror", 1), ("bring_up_rest", 1), ("copied", 2), ("exchanged", 1))
    ),
]


@pytest.mark.parametrize(("point", "nth"), POINTS)
def test_exchange_that_is_killed_is_completed_by_doing_it_again(pair: Pair, point: str, nth: int) -> None:
    before = uuids(pair.live, pair.sides.shadow)
    command = [sys.executable, "-c", KILLED, pair.url, pair.sides.live, pair.sides.shadow, point, str(nth)]
    killed = subprocess.run([*command, *(f"{name}={uuid}" for name, uuid in before.items())], cwd=ROOT, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    put(pair.live, event_row(message_id="3", received_at=AFTER_S))
    exchange_tables(Exchange(pair.live, pair.sides, before))
    assert pair.ids() == ["0", "1", "2", "3"]
    assert pair.ids("event_name = 'new'") == ["1"]
    assert uuids(pair.live, pair.sides.live) == before
    assert pair.views() == 0


ROOT = Path(__file__).parents[2]


def test_catching_up_copies_only_what_is_missing(pair: Pair) -> None:
    live, shadow = pair.sides.of_live(EVENTS), pair.sides.of_shadow(EVENTS)
    assert catch_up(pair.live, EVENTS_TABLE, live, shadow, pair.sides.outside(EVENTS_TABLE)) == 1
    assert catch_up(pair.live, EVENTS_TABLE, live, shadow, pair.sides.outside(EVENTS_TABLE)) == 0
    assert pair.shadow.query(f"SELECT count() AS n FROM {EVENTS}") == [{"n": 3}]


def test_corrections_take_back_what_was_and_tell_what_is(pair: Pair) -> None:
    was, is_ = link_row(message_id="l", user_id="U1"), link_row(message_id="l", user_id="U2")
    same, gone = link_row(message_id="same"), link_row(message_id="gone", anonymous_id="B")
    put(pair.live, is_, same, table=LINKS)
    put(pair.shadow, was, same, gone, table=LINKS)
    put(pair.live, edge_row(message_id="new"), edge_row(message_id="same"), table=EDGES)
    put(pair.shadow, edge_row(message_id="gone", to_user_id="U9"), edge_row(message_id="same"), table=EDGES)
    corrections = Corrections(pair.live, pair.sides)
    corrections.find(silently)
    owners, [edges] = [*corrections.owners()], [*corrections.edges()]
    corrections.end()
    assert [(each.anonymous_id, each.without, [fact.user_id for fact in each.facts]) for each in owners] == [
        ("A", ((RECEIVED_AT_S, "l"),), ["U2"]),
        ("B", ((RECEIVED_AT_S, "gone"),), []),
    ]
    assert [fact.message_id for fact in edges.withdrawn] == ["gone"]
    assert [fact.message_id for fact in edges.added] == ["new"]
    [[tombstone]], [[record]] = withdrawals(edges, 4, 1).values(), additions(edges, 4, 1).values()
    assert tombstone[:2] == (b"p|e:1790000000500:gone", None)
    assert record[1] == edge_row(message_id="new").replace(b'": ', b'":').replace(b", ", b",")


@contextmanager
def silently(doing: str) -> Iterator[Callable[[int], None]]:
    yield lambda left: None


def test_every_table_that_a_replay_fills_is_exchanged() -> None:
    assert {table.stored for table in TABLES} == {*STORED}
