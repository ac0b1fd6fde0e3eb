"""What the engine confirmed or merged while the disk did not take all of it: it is found, and nothing is lost."""

import itertools
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Self

import pytest
import urllib3

from embedded.process import free_port, listening, port_of, wait_ready
from embedded.process import start as start_process
from embedded.store import RunningStore, server_command
from store.client import open_store
from store.migrate import migrate
from tests.integration.test_embedded_store import HTTP, ask
from tests.small_disk import SmallDisk, small_disk
from tests.waiting import eventually

CREATE = """CREATE TABLE IF NOT EXISTS kept (a UInt64, b String) ENGINE = ReplacingMergeTree ORDER BY a
            SETTINGS non_replicated_deduplication_window = 100, min_bytes_for_wide_part = {wide}"""
INSERT = "INSERT INTO kept SELECT number, hex(sipHash128(number)) FROM numbers({first}, {rows}) "
ROWS = 20_000
TOKEN = "SETTINGS insert_deduplication_token = '{token}'"

# The engine as the store's process has it; what `beside` says was done by it, and not checked.
BESIDE = """
import os, sys, time
from pathlib import Path
from embedded.connection import Context, connected
from embedded.engine import Engine
def give_up(problem):
    print(problem, flush=True)
    os._exit(9)
engine = Engine.open(Path(sys.argv[1]), give_up)
def beside(sql, cut, table='kept'):
    with connected(Context("")) as connection:
        connection.query(sql)
        active = "SELECT path FROM system.parts WHERE table = '" + table + "' AND active ORDER BY name"
        parts = connection.query(active, "TSVRaw")
    path = parts.bytes().decode().split()[-1]
    for file in cut:
        os.truncate(path + file, os.stat(path + file).st_size // 2)
"""


def beside(folder: Path, code: str) -> str:
    """Runs code in a process that has the engine open, and gives up as it should; what it said."""
    command = [sys.executable, "-c", BESIDE + code, str(folder / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 9, done.stderr
    return done.stdout


@pytest.mark.parametrize("cut", ["data.bin", "checksums.txt", "columns.txt"])
def test_insert_whose_part_is_cut_short_is_not_confirmed_and_stored_when_it_is_sent_again(
    start: Callable[[], RunningStore], tmp_path: Path, cut: str
) -> None:
    store = start()
    ask(store.url, CREATE.format(wide=1 << 28))
    ask(store.url, INSERT.format(first=0, rows=100) + TOKEN.format(token="first"))
    store.stop()
    second = INSERT.format(first=100, rows=100) + TOKEN.format(token="second")
    said = beside(tmp_path, f"beside({second!r}, [{cut!r}])\nengine.change(Context(''), {second!r}.encode(), 'TSV')")
    assert "the disk did not take all of" in said
    for _ in range(2):
        store = start()
        assert ask(store.url, "SELECT count() FROM kept") == "100"
        store.stop()
    store = start()
    ask(store.url, second)
    ask(store.url, second)
    assert ask(store.url, "SELECT count(), uniqExact(a) FROM kept") == "200\t200"


@pytest.mark.parametrize(("wide", "cut"), [(1 << 28, ["data.bin"]), (0, ["b.bin", "checksums.txt"])])
def test_merge_whose_part_is_cut_short_is_taken_back(
    start: Callable[[], RunningStore], tmp_path: Path, wide: int, cut: list[str]
) -> None:
    store = start()
    ask(store.url, CREATE.format(wide=wide))
    for n in range(3):
        ask(store.url, INSERT.format(first=n * 100, rows=100) + TOKEN.format(token=n))
    store.stop()
    said = beside(tmp_path, f"beside('OPTIMIZE TABLE kept FINAL', {cut})\ntime.sleep(60)")
    assert "all_1_3_" in said
    store = start()
    assert ask(store.url, "SELECT count(), uniqExact(a, b) FROM kept") == "300\t300"


def test_tables_of_which_a_part_was_set_aside_answer_as_before(
    start: Callable[[], RunningStore], tmp_path: Path
) -> None:
    """Those of the schema, with the views that read them."""
    store = start()
    migrate(open_store(store.url))
    ask(store.url, "INSERT INTO whipstitch.events_stored (project_id, message_id) VALUES ('p', 'm')")
    store.stop()
    sql = "INSERT INTO whipstitch.events_stored (project_id, message_id) VALUES ('p', 'n')"
    beside(tmp_path, f"beside({sql!r}, ['data.bin'], 'events_stored')\ngive_up('done')")
    store = start()
    assert ask(store.url, "SELECT message_id FROM whipstitch.events_resolved_v") == "m"
    ask(store.url, sql)
    assert ask(store.url, "SELECT message_id FROM whipstitch.events_resolved_v ORDER BY 1") == "m\nn"


def test_what_was_confirmed_is_there_whenever_the_disk_was_filled(tmp_path: Path) -> None:
    """Of ten fills one or two end while the engine writes a part, seldom none."""
    with small_disk(tmp_path / "disk", "128m") as disk, OnSmallDisk(disk, tmp_path) as store:
        for _ in range(10):
            store.answer(CREATE.format(wide=1 << 28))
            confirmed = rows_confirmed_beside_a_fill(store)
            assert store.answer("SELECT count(), uniqExact(a, b) FROM kept FINAL") == f"{confirmed}\t{confirmed}"
            store.answer("DROP TABLE IF EXISTS kept SYNC")


def rows_confirmed_beside_a_fill(store: "OnSmallDisk") -> int:
    """The insert that finds the disk full is sent again until it is taken."""
    filling = Thread(target=store.disk.fill)
    filling.start()
    for insert in itertools.count():
        statement = INSERT.format(first=insert * ROWS, rows=ROWS) + TOKEN.format(token=insert)
        if not store.insert(statement):
            break
    filling.join()
    store.disk.empty()
    store.answer(statement)
    return (insert + 1) * ROWS


class OnSmallDisk:
    """A store on a disk that can be filled. Where it has given up it is started again, as `up` would."""

    def __init__(self, disk: SmallDisk, folder: Path) -> None:
        self.disk = disk
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._log_file = folder / "store.log"
        self._process = self._started()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def insert(self, statement: str) -> bool:
        """Whether it was confirmed."""
        try:
            answer = HTTP.request("POST", self.url, body=statement.encode())
        except urllib3.exceptions.HTTPError:
            return False
        assert answer.status == 200 or b"NOT_ENOUGH_SPACE" in answer.data, answer.data
        return answer.status == 200

    def answer(self, query: str) -> str:
        """Asks until there is an answer: a merge that was cut short may still have to be found."""
        answers: list[str] = []

        def is_answered() -> bool:
            if self._process.poll() is not None:
                self._process = self._started()
            with suppress(urllib3.exceptions.HTTPError):
                answer = HTTP.request("POST", self.url, body=query.encode())
                answers.extend([answer.data.decode().strip()] if answer.status == 200 else [])
            return bool(answers)

        eventually(is_answered, f"an answer to {query}", poll_s=0.1)
        return answers[0]

    def _started(self) -> subprocess.Popen[bytes]:
        with listening(self._port) as listener:
            assert port_of(listener) == self._port
            argv = [*self.disk.inside, *server_command(self.disk.mounted_at / "store", listener)]
            process = start_process("store", argv, self._log_file, listener=listener)
        wait_ready("store", process, self._log_file, self._answers, 60)
        return process

    def _answers(self) -> bool:
        with suppress(urllib3.exceptions.HTTPError):
            return HTTP.request("GET", f"{self.url}/ping").status == 200
        return False
