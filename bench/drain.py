"""Drains a preloaded `events.raw`, the stitch agent and the sink apart, and says what each costs.

    .venv/bin/python -m bench.drain --events 500000

Events per CPU-second of the worker process, all its threads, from its first commit to its last. Nothing else runs
meanwhile but Kafka and the store. At the end the promise is checked: each distinct message is stored once.
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench import load
from broker.connection import client_options
from broker.control import write_control
from broker.producer import DurableProducer
from broker.topics import create_topics
from embedded.kafka import start_kafka
from embedded.store import start_store
from pipeline import settings
from pipeline.settings import Settings
from store.client import open_store
from store.migrate import migrate
from topics.control import Project
from topics.names import LINKS, RAW, REJECTED, STITCHED, WORKER_GROUP
from topics.records import Record

POLL_S = 0.2
WRITE_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Drained:
    """What one half cost. `events` went by while `cpu_s` and `wall_s` passed."""

    half: str
    events: int
    cpu_s: float
    wall_s: float
    peak_mb: int

    def __str__(self) -> str:
        return (
            f"| {self.half} | {self.events:,} | {self.cpu_s:.1f} | {self.events / self.cpu_s:,.0f} "
            f"| {self.events / self.wall_s:,.0f} | {self.peak_mb} |"
        )


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=500_000)
    count = arguments.parse_args().events
    with tempfile.TemporaryDirectory() as folder, _system(Path(folder)) as configured:
        distinct = asyncio.run(_preload(configured, count))
        print("| half | events | CPU s | events / CPU s | events / s | peak MB |\n|---|---|---|---|---|---|")
        print(_drain(configured, "stitch agent", [RAW], stitch=True, sink=False), flush=True)
        print(_drain(configured, "sink agents", [STITCHED, LINKS, REJECTED], stitch=False, sink=True))
        return _check(configured, distinct)


@contextmanager
def _system(folder: Path) -> Iterator[Settings]:
    kafka, store = start_kafka(folder, None, None, _say), start_store(folder, _say)
    try:
        configured = settings.load({}, folder / "none", kafka=kafka.bootstrap, store=store.url, data=folder)
        asyncio.run(create_topics(configured))
        asyncio.run(write_control(configured, [Project(load.PROJECT, 0)]))
        opened = open_store(configured.store)
        migrate(opened)
        opened.close()
        yield configured
    finally:
        store.stop()
        kafka.stop()


async def _preload(configured: Settings, count: int) -> int:
    """Write the load; how many different messages it has."""
    producer = DurableProducer(configured)
    await producer.start()
    waiting: dict[int, list[Record]] = {}
    seen: set[bytes] = set()
    for partition, record in load.records(count, await producer.partitions(RAW)):
        seen.add(record[3][0][1].split(b'"received_at_ms"')[0])
        records = waiting.setdefault(partition, [])
        records.append(record)
        if len(records) == WRITE_AT_ONCE:
            await producer.send(RAW, partition, waiting.pop(partition))
    for partition, records in waiting.items():
        await producer.send(RAW, partition, records)
    await producer.stop()
    _say(f"preloaded {count:,} events, {len(seen):,} of them different")
    return len(seen)


def _drain(configured: Settings, half: str, topics: list[str], **halves: bool) -> Drained:
    spawned = multiprocessing.get_context("spawn").Process(target=_work, args=(settings.as_environ(configured), halves))
    spawned.start()
    assert spawned.pid is not None
    try:
        return asyncio.run(_watch(configured, half, topics, psutil.Process(spawned.pid)))
    finally:
        spawned.terminate()
        spawned.join()


async def _watch(configured: Settings, half: str, topics: list[str], worker: psutil.Process) -> Drained:
    consumer = AIOKafkaConsumer(**client_options(configured), group_id=WORKER_GROUP, enable_auto_commit=False)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(
            [TopicPartition(topic, n) for topic in topics for n in range(configured.partitions)]
        )
        events = sum(end for at, end in ends.items() if at.topic == topics[0])
        begin_cpu_s, begin_s, peak = 0.0, 0.0, 0
        while True:
            times, done = worker.cpu_times(), await _committed(consumer, ends)
            cpu_s, now_s, peak = times.user + times.system, time.monotonic(), max(peak, worker.memory_info().rss)
            if done == 0:
                begin_cpu_s, begin_s = cpu_s, now_s
            if done == sum(ends.values()):
                return Drained(half, events, cpu_s - begin_cpu_s, now_s - begin_s, peak >> 20)
            await asyncio.sleep(POLL_S)
    finally:
        await consumer.stop()


async def _committed(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> int:
    return sum([await consumer.committed(at) or 0 for at in ends])


def _work(environ: dict[str, str], halves: dict[str, bool]) -> None:
    from agents.worker import run

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    sys.exit(run(settings.load(environ), stitch=halves["stitch"], sink=halves["sink"]))


def _check(configured: Settings, distinct: int) -> int:
    opened = open_store(configured.store)
    [row] = opened.query("SELECT count() AS stored, uniqExact(message_id) AS different FROM events")
    opened.close()
    kept = row["stored"] == row["different"] == distinct
    print(
        f"\nstored {row['stored']:,}, different {row['different']:,}, sent {distinct:,}: {'right' if kept else 'WRONG'}"
    )
    return 0 if kept else 1


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
