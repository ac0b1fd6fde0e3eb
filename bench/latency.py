"""How long until it can be seen: from an HTTP answer to a row, and from an identify to the earlier anonymous events.

    .venv/bin/python -m bench.latency

It runs all of `whipstitch up`, measures what that takes at most, and then probes twice: with nothing else to do, and
with half of that coming in. Each probe is one request and then the same query until it answers as it should.
"""

import argparse
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import orjson
import urllib3

from bench import load
from bench.results import Figure
from embedded.process import free_port

BATCH = 100
SENDERS = 4
CAPACITY_EVENTS = 100_000
POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class Service:
    """A running `whipstitch up`: where it takes events and where it is asked."""

    ingress: str
    store: str
    key: str

    def send(self, http: urllib3.PoolManager, path: str, body: object) -> None:
        headers = {**urllib3.make_headers(basic_auth=f"{self.key}:"), "content-type": "application/json"}
        answer = http.request("POST", self.ingress + path, body=orjson.dumps(body), headers=headers)
        if answer.status != 200:
            raise SystemExit(f"{path} answered {answer.status}: {answer.data.decode()}")

    def ask(self, http: urllib3.PoolManager, sql: str) -> str:
        return http.request("POST", f"{self.store}/?database=whipstitch", body=sql).data.decode().strip()


Probe: TypeAlias = Callable[[Service, urllib3.PoolManager, str], float]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--probes", type=int, default=200)
    probes = arguments.parse_args().probes
    with tempfile.TemporaryDirectory() as folder, _running(Path(folder)) as service:
        print("| | events/s beside it | p50 s | p99 s | slowest s |\n|---|---|---|---|---|")
        _report(service, probes, 0)
        rate = _capacity(service) // 2
        with _sending(service, rate):
            _report(service, probes, rate)
    return 0


def figures(probes: int) -> list[Figure]:
    """With nothing else to do."""
    with tempfile.TemporaryDirectory() as folder, _running(Path(folder)) as service:
        row, who = (_times(service, probes, 0, probe) for probe in (_until_stored, _until_resolved))
    of = f"{probes} probes"
    return [Figure("latency_row", _p99(row), of=of), Figure("latency_who", _p99(who), of=of)]


def _report(service: Service, probes: int, rate: int) -> None:
    for name, probe in (("an answer to its row", _until_stored), ("an identify to earlier rows", _until_resolved)):
        times = _times(service, probes, rate, probe)
        print(
            f"| {name} | {rate:,} | {statistics.median(times):.2f} | {_p99(times):.2f} | {times[-1]:.2f} |", flush=True
        )


def _times(service: Service, probes: int, rate: int, probe: Probe) -> list[float]:
    return sorted(_probe(service, probe, f"{rate}-{n}") for n in range(probes))


def _p99(times: list[float]) -> float:
    return times[min(len(times) - 1, len(times) * 99 // 100)]


def _probe(service: Service, probe: Probe, name: str) -> float:
    with urllib3.PoolManager() as http:
        return probe(service, http, name)


def _until_stored(service: Service, http: urllib3.PoolManager, name: str) -> float:
    service.send(http, "/v1/track", {"anonymousId": f"row-{name}", "event": "E", "messageId": f"row-{name}"})
    return _until(lambda: service.ask(http, f"SELECT count() FROM events WHERE message_id = 'row-{name}'") == "1")


def _until_resolved(service: Service, http: urllib3.PoolManager, name: str) -> float:
    anonymous_id, user_id = f"who-{name}", f"user-{name}"
    service.send(http, "/v1/track", {"anonymousId": anonymous_id, "event": "E", "messageId": anonymous_id})
    _until(lambda: service.ask(http, f"SELECT count() FROM events WHERE message_id = '{anonymous_id}'") == "1")
    service.send(http, "/v1/identify", {"anonymousId": anonymous_id, "userId": user_id})
    sql = f"SELECT resolved_user_id FROM events_resolved_v WHERE message_id = '{anonymous_id}'"
    return _until(lambda: service.ask(http, sql) == user_id)


def _until(is_so: Callable[[], bool]) -> float:
    began_s = time.monotonic()
    while not is_so():
        time.sleep(POLL_S)
    return time.monotonic() - began_s


def _capacity(service: Service) -> int:
    """Events a second that go all the way when as many are sent as are taken."""
    began_s = time.monotonic()
    senders = [_sender(service, CAPACITY_EVENTS // SENDERS, 0.0, seed) for seed in range(SENDERS)]
    for sender in senders:
        sender.join()
    with urllib3.PoolManager() as http:
        sql = "SELECT count() FROM events WHERE event_name = 'Load'"
        _until(lambda: service.ask(http, sql) == str(CAPACITY_EVENTS))
    capacity = int(CAPACITY_EVENTS / (time.monotonic() - began_s))
    print(f"{capacity:,} events/s go all the way at most", file=sys.stderr, flush=True)
    return capacity


@contextmanager
def _sending(service: Service, rate: int) -> Iterator[None]:
    sender = _sender(service, None, BATCH / rate, SENDERS)
    try:
        yield
    finally:
        sender.terminate()
        sender.join()


def _sender(service: Service, count: int | None, every_s: float, seed: int) -> multiprocessing.Process:
    started = multiprocessing.Process(target=_send_batches, args=(service, count, every_s, seed), daemon=True)
    started.start()
    return started


def _send_batches(service: Service, count: int | None, every_s: float, seed: int) -> None:
    """Batches of tracks, one every so many seconds, or each after the one before it was answered."""
    bodies = [call for _, call in load.events(5 * BATCH, seed)]
    sent, due_s = 0, time.monotonic()
    with urllib3.PoolManager() as http:
        while count is None or sent < count:
            batch = [
                {**bodies[n % len(bodies)], "type": "track", "event": "Load", "messageId": f"load-{seed}-{n}"}
                for n in range(sent, sent + BATCH)
            ]
            service.send(http, "/v1/batch", {"batch": batch})
            sent += BATCH
            due_s += every_s
            time.sleep(max(0.0, due_s - time.monotonic()))


@contextmanager
def _running(folder: Path) -> Iterator[Service]:
    port = free_port()
    command = [sys.executable, "-m", "cli.main", "up", "--data", str(folder / "data"), "--port", str(port)]
    up = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)
    try:
        yield _service(up, port)
    finally:
        up.send_signal(signal.SIGINT)
        up.communicate()


def _service(up: "subprocess.Popen[str]", port: int) -> Service:
    said = ""
    assert up.stdout is not None
    for line in up.stdout:
        said += line
        key, store = re.search(r"sk_\w+", said), re.search(r"store: starting at (\S+)", said)
        if key and store:
            return Service(f"http://127.0.0.1:{port}", store[1], key[0])
    raise SystemExit(f"`whipstitch up` ended:\n{said}")


if __name__ == "__main__":
    sys.exit(main())
