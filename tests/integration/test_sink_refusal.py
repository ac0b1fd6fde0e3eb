"""A batch that the store refuses, of which Kafka has no longer all records."""

import asyncio
from uuid import uuid4

import pytest

from broker.producer import DurableProducer
from broker.scan import records_of, scanner
from tests.fixtures.system import System
from tests.integration.test_handing_over import stitched
from tests.integration.test_sink_room import running_sink
from tests.records import TestRecord
from tests.retention import take_away
from topics.names import REJECTED, STITCHED
from topics.records import RawRecord, Stretch
from topics.rejected import Reason, read_rejection

JUNK = TestRecord(b"not a row", key=b"k")


def test_what_kafka_still_has_is_told_apart_and_what_it_has_not_is_told_in_the_log(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    project = f"{uuid4().hex[:8]}.p"
    [letter] = asyncio.run(refused(system, [stitched(project, "gone"), stitched(project, "kept"), JUNK]))
    stored = system.rows("SELECT message_id FROM events_stored WHERE project_id = {p:String}", p=project)
    assert [row["message_id"] for row in stored] == ["kept"]
    assert (letter.value, read_rejection(letter.headers).reason) == (JUNK.value, Reason.STORE_REFUSED)
    assert "1 are of records that Kafka no longer has" in caplog.text


async def refused(system: System, records: list[TestRecord]) -> list[RawRecord]:
    """The dead letters of a batch whose first record is gone before the store refuses it."""
    settings, done = system.settings, asyncio.Event()
    producer = DurableProducer(settings)
    end = await producer.send(STITCHED, 0, [(record.key, record.value, record.timestamp, ()) for record in records])
    await producer.stop()
    start = end - len(records)
    batch = await records_of(settings, [Stretch(STITCHED, 0, start, end, len(records))])
    await take_away(settings, STITCHED, {0: start + 1})
    async with running_sink(system, settings.store) as sink, scanner(settings) as scan:
        letters_before = (await scan.ends(REJECTED))[0]
        sink.offer(batch, done.set)
        await done.wait()
        letters_end = (await scan.ends(REJECTED))[0]
    return await records_of(settings, [Stretch(REJECTED, 0, letters_before, letters_end, 1)])
