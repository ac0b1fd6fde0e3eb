"""What an event costs in the ingress, as ratios: one event a request, a hundred a request, and a bare echo.

    .venv/bin/python -m bench.ingress --pairs 7

Each side is a process of its own on the same HTTP server, under the same load generator; the sides take turns. The
score is CPU-seconds of the process under test, all its threads. Every request must be answered 200, which the ingress
says only after Kafka has acknowledged.
"""

import argparse
import asyncio
import base64
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil

from bench import load
from bench.ratios import Ratio, ratio
from bench.results import Figure
from broker.control import write_control
from broker.topics import create_topics
from embedded.kafka import start_kafka
from embedded.process import free_port
from pipeline import settings
from pipeline.settings import Settings
from topics.control import Key, Project, key_hash, key_hint, new_key

CONNECTIONS = 128
BATCH = 100

ECHO = """
import asyncio, socket, sys, uvicorn, uvloop
from ingress.server import _uvicorn_config

async def app(scope, receive, send):
    body = (await receive())["body"]
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})

listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(uvicorn.Server(_uvicorn_config(app)).serve(sockets=[listening]))
"""
INGRESS = "import sys; from ingress.server import run; from pipeline.settings import load; sys.exit(run(load()))"


@dataclass
class Side:
    """One thing to measure. `cpu_us` gets what an event cost in each turn."""

    name: str
    process: psutil.Process
    port: int
    requests: list[bytes]
    events: int
    cpu_us: list[float] = field(default_factory=list)

    def take_turn(self, count: int) -> None:
        before = self._cpu_s()
        asyncio.run(_drive(self.port, self.requests, count))
        self.cpu_us.append((self._cpu_s() - before) * 1e6 / (count * self.events))

    def _cpu_s(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pairs", type=int, default=7)
    arguments.add_argument("--requests", type=int, default=8000, help="requests of one event in each turn")
    given = arguments.parse_args()
    sides = _measured(given.pairs, given.requests)
    print("| side | µs of CPU an event: median | least | most |\n|---|---|---|---|")
    for side in sides:
        print(
            f"| {side.name} | {statistics.median(side.cpu_us):.1f} | {min(side.cpu_us):.1f} | {max(side.cpu_us):.1f} |"
        )
    print("\n| ratio, events per CPU-second | median of pairs | 95 % |\n|---|---|---|")
    for figure in _figures(*sides):
        print(f"| {figure.key} | {figure.value:.2f} | {figure.low:.2f} to {figure.high:.2f} |")
    return 0


def figures(pairs: int, requests: int) -> list[Figure]:
    """`requests` of one event in each turn."""
    return _figures(*_measured(pairs, requests))


def _measured(pairs: int, requests: int) -> tuple[Side, Side, Side]:
    with tempfile.TemporaryDirectory() as folder, _sides(Path(folder)) as (echo, single, batch):
        for warm_up in (echo, single, batch):
            asyncio.run(_drive(warm_up.port, warm_up.requests, 500))
        for pair in range(pairs):
            turns = [(echo, requests), (single, requests), (batch, requests // 20)]
            for side, count in turns if pair % 2 == 0 else turns[::-1]:
                side.take_turn(count)
        return echo, single, batch


def _figures(echo: Side, single: Side, batch: Side) -> list[Figure]:
    of = f"{len(echo.cpu_us)} pairs, {CONNECTIONS} connections"
    return [
        Figure.of_ratio("ingress", _ratio(single, echo), of),
        Figure.of_ratio("ingress_batch", _ratio(batch, single), of),
    ]


def _ratio(side: Side, other: Side) -> Ratio:
    return ratio([1 / us for us in side.cpu_us], [1 / us for us in other.cpu_us])


@contextmanager
def _sides(folder: Path) -> Iterator[tuple[Side, Side, Side]]:
    kafka = start_kafka(folder, None, None, lambda says: print(says, file=sys.stderr))
    with ExitStack() as ends:
        ends.callback(kafka.stop)
        configured = settings.load({}, folder / "none", kafka=kafka.bootstrap, data=folder)
        key = asyncio.run(_prepared(configured))
        calls = [orjson.dumps(call) for _, call in load.events(2000, seed=2)]
        batches = [b'{"batch":[%s]}' % b",".join(calls[n : n + BATCH]) for n in range(0, 2000, BATCH)]
        batches = [body for body in batches if len(body) < configured.max_batch_bytes]
        echo_port, port = free_port(), free_port()
        echo = ends.enter_context(_process(ECHO, configured, echo_port))
        ingress = ends.enter_context(_process(INGRESS, configured, port))
        single = [_request("/v1/track", key, call) for call in calls]
        yield (
            Side("bare echo, 1 event a request", echo, echo_port, single, 1),
            Side("ingress, 1 event a request", ingress, port, single, 1),
            Side(
                f"ingress, {BATCH} events a request",
                ingress,
                port,
                [_request("/v1/batch", key, b) for b in batches],
                BATCH,
            ),
        )


async def _prepared(configured: Settings) -> str:
    await create_topics(configured)
    key = new_key("secret")
    record = Key(key_hash(key), key_hint(key), load.PROJECT, "secret", 0)
    await write_control(configured, [Project(load.PROJECT, 0), record])
    return key


@contextmanager
def _process(code: str, configured: Settings, port: int) -> Iterator[psutil.Process]:
    environ = {**os.environ, **settings.as_environ(configured.model_copy(update={"port": port}))}
    process = subprocess.Popen([sys.executable, "-c", code, str(port)], env=environ, stderr=subprocess.DEVNULL)
    try:
        asyncio.run(_listening(port))
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


async def _listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            await asyncio.sleep(3)  # the ingress listens before it has reached Kafka
            return


def _request(path: str, key: str, body: bytes) -> bytes:
    credentials = base64.b64encode(f"{key}:".encode()).decode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nUser-Agent: bench/1\r\n"
        f"Authorization: Basic {credentials}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _drive(port: int, requests: list[bytes], count: int) -> None:
    turns = iter(range(count))

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for turn in turns:
            writer.write(requests[turn % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.close()

    await asyncio.gather(*(one_connection() for _ in range(CONNECTIONS)))


if __name__ == "__main__":
    sys.exit(main())
