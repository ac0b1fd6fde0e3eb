"""What a worker has written goes to its own sinks without being read back, and nothing is lost or doubled by that."""

from uuid import uuid4

import pytest

from tests.fixtures.system import System
from tests.records import START_MS, TestRecord, raw_call
from tests.waiting import eventually
from topics.control import Project
from topics.keys import anonymous_key
from topics.names import STITCHED
from topics.stitched import StitchedEvent, encode

# Each batch of events that a sink gets is told in the log: as read from Kafka, or as handed over by the stitch agent.
TOLD = """
import agents.sink
from topics.written import Written
plain_offer, handed = agents.sink.Sink.offer, 0
def offer(self, records, acknowledge):
    global handed
    is_handed = isinstance(records, Written)
    handed += is_handed
    taken = not (is_handed and REFUSED(handed)) and plain_offer(self, records, acknowledge)
    if self.table == 'events_stored':
        print('handed' if is_handed else 'read', taken, len(records), flush=True)
    return taken
agents.sink.Sink.offer = offer
"""
# Nothing of `events.stitched` is polled before the worker has written to it.
UNPOLLED = """
from agents.transport import BatchConsumer
plain_readable = BatchConsumer._readable
def readable(self):
    return {tp for tp in plain_readable(self) if self._written_to or tp.topic != 'events.stitched'}
BatchConsumer._readable = readable
"""
HANDED, REFUSED, READ = "handed True", "handed False", "read True"


@pytest.fixture
def project(system: System) -> str:
    name = f"{uuid4().hex[:8]}.p"
    system.set_project(Project(name, 0))
    return name


def worker_code(refused: str) -> str:
    return f"REFUSED = lambda n: {refused}\n{TOLD}"


def publish(system: System, project: str, n: int) -> None:
    body: dict[str, object] = {"type": "track", "event": "E", "anonymousId": "A", "messageId": f"m{n:03}"}
    system.publish(raw_call(body, project_id=project, at_ms=START_MS + n))


def stored(system: System, project: str) -> list[str]:
    """The message ids beneath the view that would hide one that is there twice."""
    sql = "SELECT message_id FROM events_stored WHERE project_id = {p:String} ORDER BY message_id"
    return [row["message_id"] for row in system.rows(sql, p=project)]


def publish_until(system: System, project: str, worker: object, told: dict[str, int]) -> int:
    """Publish event after event until the worker's log has told each of these so often; how many it took."""
    published = 0

    def are_told() -> bool:
        nonlocal published
        publish(system, project, published)
        published += 1
        log = system.log_of(worker)  # type: ignore[arg-type]
        return all(log.count(line) >= times for line, times in told.items())

    eventually(are_told, f"{told} in the worker's log", poll_s=0.05)
    return published


def all_stored(system: System, project: str, published: int) -> None:
    expected = [f"m{n:03}" for n in range(published)]
    eventually(lambda: len(stored(system, project)) >= published, f"{published} events in the store")
    assert stored(system, project) == expected


def test_events_are_handed_over_and_stored_once(system: System, project: str) -> None:
    with system.worker(worker_code("False")) as worker:
        published = publish_until(system, project, worker, {HANDED: 10})
        all_stored(system, project, published)
    with system.worker():  # what was handed over was committed too, and is not read again
        publish(system, project, published)
        all_stored(system, project, published + 1)


def test_a_worker_that_starts_where_all_was_read_reads_nothing_back(system: System, project: str) -> None:
    with system.worker():
        publish(system, project, 0)
        all_stored(system, project, 1)
    # A poll that is under way may bring an event before the worker is told that it is durable.
    with system.worker(UNPOLLED + worker_code("False")) as worker:
        publish(system, project, 1)
        all_stored(system, project, 2)
        log = system.log_of(worker)
    assert (log.count(HANDED), log.count(READ)) == (1, 0)


def test_what_others_wrote_before_it_started_is_read(system: System, project: str) -> None:
    with system.worker():
        publish(system, project, 0)
        all_stored(system, project, 1)
    system.publish(stitched(project, "others"), topic=STITCHED)
    publish(system, project, 1)
    with system.worker(UNPOLLED):
        eventually(lambda: len(stored(system, project)) >= 3, "3 events in the store")
    assert stored(system, project) == ["m000", "m001", "others"]


def test_what_a_sink_has_no_room_for_is_read_from_kafka(system: System, project: str) -> None:
    with system.worker(worker_code("n % 3 == 0")) as worker:
        published = publish_until(system, project, worker, {HANDED: 6, REFUSED: 3, READ: 4})
        all_stored(system, project, published)


def test_what_others_write_behind_it_is_read(system: System, project: str) -> None:
    """As a worker that has not yet heard that it lost the partition may."""
    with system.worker(worker_code("False")) as worker:
        published = publish_until(system, project, worker, {HANDED: 3})
        system.publish(stitched(project, "others"), topic=STITCHED)
        eventually(lambda: "others" in stored(system, project), "what another wrote")
        publish(system, project, published)
        eventually(lambda: f"m{published:03}" in stored(system, project), "what comes behind it")
        assert stored(system, project) == [f"m{n:03}" for n in range(published + 1)] + ["others"]


def stitched(project: str, message_id: str) -> TestRecord:
    at_s = START_MS / 1000
    event = StitchedEvent(
        project, message_id, "track", "E", "A", None, None, None, timestamp=at_s, original_timestamp=None, sent_at=None,
        received_at=at_s,
    )  # fmt: skip
    return TestRecord(encode(event), key=anonymous_key(project, "A"))
