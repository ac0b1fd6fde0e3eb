"""Merges on a real broker: from a raw call to steps, changes and rows, over restarts and two writers at once."""

import asyncio
from typing import Any

from broker.log import LogReader
from broker.producer import DurableProducer
from tests.fixtures.system import System
from tests.records import START_MS, TestRecord, raw_call
from tests.waiting import eventually
from topics import persons
from topics.control import Project
from topics.keys import partition_of
from topics.names import CHANGES, PERSONS
from topics.persons import PersonChange, PersonStep, Standing


def alias(project_id: str, previous_id: str, user_id: str, n: int) -> TestRecord:
    body: dict[str, object] = {"type": "alias", "previousId": previous_id, "userId": user_id, "messageId": f"m{n}"}
    return raw_call(body, at_ms=START_MS + n, project_id=project_id, key_kind="secret")


def canonical(system: System, project_id: str) -> dict[str, str]:
    sql = "SELECT user_id, canonical_user_id FROM identity_persons WHERE project_id = {p:String}"
    return {row["user_id"]: row["canonical_user_id"] for row in system.rows(sql, p=project_id)}


def test_merged_users_are_one_in_the_store_and_over_a_restart(system: System) -> None:
    system.set_project(Project("merge-restart", 0))
    system.publish(alias("merge-restart", "u1", "u2", 1))
    with system.worker():
        eventually(lambda: canonical(system, "merge-restart") == {"u1": "u2", "u2": "u2"}, "two users to be one")
    system.publish(alias("merge-restart", "u2", "u3", 2))
    with system.worker():
        eventually(
            lambda: canonical(system, "merge-restart") == {"u1": "u3", "u2": "u3", "u3": "u3"}, "three users to be one"
        )


def test_a_consumer_is_told_of_each_change_once_in_order(system: System) -> None:
    with system.worker():
        system.publish(*(alias("merge-told", f"u{n}", f"u{n + 1}", n) for n in range(1, 4)))
        eventually(lambda: len(canonical(system, "merge-told")) == 4, "four users to be one")
    changes = [PersonChange(**row) for row in read(system, CHANGES, "merge-told")]
    assert [each.version for each in changes] == sorted({each.version for each in changes})
    last = {each.user_id: each for each in changes}
    assert {each.new_user_id for each in last.values()} == {"u4"}
    assert changes[-1].members == ("u1", "u2", "u3", "u4")


def test_steps_that_somebody_else_wrote_are_put_right_at_the_next_fact(system: System) -> None:
    project = "merge-zombie"
    wrong = PersonStep(project, "u1", START_MS / 1000 + 5, "nobody", Standing.JOINED, "m0")
    with system.worker():
        system.publish(alias(project, "u1", "u2", 1))
        eventually(lambda: len(canonical(system, project)) == 2, "two users to be one")
        asyncio.run(write(system, wrong))
        system.publish(alias(project, "u2", "u3", 2))
        eventually(lambda: canonical(system, project).get("u1") == "u3", "three users to be one")
    assert [row["canonical_user_id"] for row in read(system, PERSONS, project) if row["since"] == wrong.since] == [
        "nobody",
        "u3",
    ]


STUCK_SINK = """
import asyncio, agents.sink
take = agents.sink.Sink.take
async def stuck(self, records, acknowledge):
    await asyncio.Event().wait() if self.table == 'identity_edges_stored' else await take(self, records, acknowledge)
agents.sink.Sink.take = stuck
"""


def test_facts_that_are_merged_and_not_yet_stored_are_stored_after_a_kill(system: System) -> None:
    """Two agents read one topic: its offset is committed when both are done."""
    with system.worker(STUCK_SINK) as worker:
        for n in range(1, 4):
            system.publish(alias("merge-two", f"u{n}", f"u{n + 1}", n))
            eventually(lambda n=n: len(canonical(system, "merge-two")) == n + 1, "the users to be one")  # type: ignore[misc]
        worker.kill()
    with system.worker():
        eventually(lambda: system.count("identity_edges WHERE project_id = 'merge-two'") == 3, "every edge")


def test_garbage_among_the_facts_stops_nothing(system: System) -> None:
    with system.worker():
        for topic in ("identity.merges", "identity.links"):
            system.publish(TestRecord(b"\xff{", key=b"merge-garbage"), topic=topic)
        system.publish(alias("merge-garbage", "u1", "u2", 1))
        eventually(lambda: len(canonical(system, "merge-garbage")) == 2, "two users to be one")


def read(system: System, topic: str, project_id: str) -> list[dict[str, Any]]:
    """The project's records, in order, as their columns."""
    decode: Any = persons.decode_change if topic == CHANGES else persons.decode_step
    return [
        {name: getattr(record, name) for name in record.__struct_fields__}
        for record in map(decode, asyncio.run(_values(system, topic, project_id)))
        if record.project_id == project_id
    ]


async def _values(system: System, topic: str, project_id: str) -> list[bytes]:
    log = LogReader(system.settings)
    await log.start()
    partition = partition_of(project_id.encode(), 4)
    values = [record.value async for batch in log.read(topic, partition, 0) for record in batch if record.value]
    await log.stop()
    return values


async def write(system: System, step: PersonStep) -> None:
    """As a worker would that was taken its partition and does not know it yet."""
    producer = DurableProducer(system.settings)
    await producer.start()
    key = persons.step_key(step.project_id, step.user_id, step.since)
    partition = partition_of(step.project_id.encode(), await producer.partitions(PERSONS))
    await producer.send(PERSONS, partition, [(key, persons.encode(step), START_MS, ())])
    await producer.stop()
