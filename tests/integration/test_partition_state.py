"""What a partition's events are decided by, brought up to its logs: the identity table, beside other writers."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from agents.partition_state import PartitionState
from broker.log import LogReader
from broker.producer import DurableProducer
from pipeline.decision import Decision
from tests.fixtures.system import System
from tests.records import TestRecord
from topics.names import IDENTITY_CHANGELOG

NOW_MS = 1_790_000_000_000
NEXT = [TestRecord(b"{}", (), timestamp=NOW_MS)]
PARTITION = 0
Rows = Mapping[bytes, bytes | None]


class Logs:
    """A worker's state of a partition, and somebody who writes to its logs."""

    def __init__(self, log: LogReader, producer: DurableProducer, folder: Path) -> None:
        self._log = log
        self._producer = producer
        self._folder = folder
        self._prefix = uuid4().bytes

    def state(self) -> PartitionState:
        return PartitionState(PARTITION, self._log, 3600, self._folder)

    async def write(self, rows: Rows) -> int:
        records = [(self._prefix + key, row, NOW_MS, ()) for key, row in rows.items()]
        return await self._producer.send(IDENTITY_CHANGELOG, PARTITION, records)

    def decided(self, rows: Rows) -> Decision:
        return Decision(owners={self._prefix + key: row for key, row in rows.items()})

    def owners(self, state: PartitionState) -> Rows:
        """Those of this test: others may have written to the same partition."""
        of, owners = self._prefix, state.owners
        return {key.removeprefix(of): row for key, row in owners.items() if key.startswith(of)}


@asynccontextmanager
async def open_logs(system: System, folder: Path) -> AsyncIterator[Logs]:
    log, producer = LogReader(system.settings), DurableProducer(system.settings)
    await log.start()
    await producer.start()
    try:
        yield Logs(log, producer, folder)
    finally:
        await producer.stop()
        await log.stop()


def test_table_is_what_was_written_last_of_each_id(system: System, tmp_path: Path) -> None:
    async def caught_up() -> Rows:
        async with open_logs(system, tmp_path) as logs:
            await logs.write({b"A": b"1", b"B": b"1", b"C": b"1"})
            await logs.write({b"A": b"2", b"B": None})
            state = logs.state()
            await state.catch_up(NEXT)
            return logs.owners(state)

    assert asyncio.run(caught_up()) == {b"A": b"2", b"C": b"1"}


def test_what_it_wrote_itself_is_not_read_back(
    system: System, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def caught_up() -> Rows:
        async with open_logs(system, tmp_path) as logs:
            state = logs.state()
            await state.catch_up(NEXT)
            own: Rows = {b"A": b"1", b"B": b"1"}
            state.remember(logs.decided(own), await logs.write(own), None)
            caplog.clear()
            await state.catch_up(NEXT)
            return logs.owners(state)

    caplog.set_level("INFO")
    assert asyncio.run(caught_up()) == {b"A": b"1", b"B": b"1"}
    assert "caught up" not in caplog.text


def test_what_another_wrote_in_between_is_taken_in(system: System, tmp_path: Path) -> None:
    async def caught_up() -> Rows:
        async with open_logs(system, tmp_path) as logs:
            state = logs.state()
            await state.catch_up(NEXT)
            await logs.write({b"A": b"of another", b"B": b"of another"})
            own: Rows = {b"A": b"own"}
            state.remember(logs.decided(own), await logs.write(own), None)
            await state.catch_up(NEXT)
            return logs.owners(state)

    assert asyncio.run(caught_up()) == {b"A": b"own", b"B": b"of another"}


def test_after_a_rebalance_only_what_is_new_is_read(system: System, tmp_path: Path) -> None:
    async def caught_up() -> tuple[Rows, Rows]:
        async with open_logs(system, tmp_path) as logs:
            await logs.write({b"A": b"1"})
            state = logs.state()
            await state.catch_up(NEXT)
            state.owners.clear()
            await logs.write({b"B": b"1"})
            before = logs.owners(state)
            state.falls_behind()
            await state.catch_up(NEXT)
            return before, logs.owners(state)

    assert asyncio.run(caught_up()) == ({}, {b"B": b"1"})
