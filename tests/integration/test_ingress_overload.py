"""Ten thousand requests that wait while Kafka is away: memory stays bounded, each is answered, and it recovers."""

import asyncio
import json
import resource
from pathlib import Path

import psutil

from broker.topics import create_topics
from pipeline.settings import Settings
from tests.integration.ingress_process import basic, known_key, pausable_kafka, running_ingress, wait_ready
from tests.pausing import paused
from tests.waiting import eventually

_, FILES = resource.getrlimit(resource.RLIMIT_NOFILE)
WAITING = 10_000 if FILES == resource.RLIM_INFINITY else min(10_000, FILES - 1000)
BODY = json.dumps({"event": "E", "anonymousId": "a", "properties": {"note": "x" * 2000}}).encode()
MAY_GROW_MB = 300


async def _statuses(port: int, key: str) -> list[int]:
    head = (
        f"POST /v1/track HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(key)}\r\n"
        f"Content-Length: {len(BODY)}\r\nConnection: close\r\n\r\n"
    )
    return await asyncio.gather(*(_status(port, head.encode() + BODY) for _ in range(WAITING)))


async def _status(port: int, request: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ")[1])


def test_waiting_requests_take_bounded_memory_and_each_is_answered(tmp_path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))  # the ingress inherits it
    with pausable_kafka(tmp_path) as kafka:
        asyncio.run(create_topics(Settings.model_validate({"kafka": kafka.bootstrap, "partitions": 4})))
        with running_ingress(kafka.bootstrap, tmp_path, max_wait_s=20.0) as ingress:
            wait_ready(ingress)
            secret, _ = known_key(ingress)
            process = psutil.Process(ingress.process.pid)
            before = process.memory_info().rss
            with paused(kafka.process):
                statuses = asyncio.run(_statuses(ingress.settings.port, secret))
                grown_mb = (process.memory_info().rss - before) >> 20
            eventually(ingress.is_ready, "the ingress takes events again")
    assert set(statuses) == {503}
    assert grown_mb < MAY_GROW_MB
