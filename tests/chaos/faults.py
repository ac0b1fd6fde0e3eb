"""Every kind of fault: how it is brought about, and how its cause ends. What it did is found out elsewhere.

A fault returns the moment (of the monotonic clock) from which its recovery counts: when a part was killed, or when a
pause was over.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.chaos.client import Ledger
from tests.chaos.engines import BROKERS
from tests.chaos.odd_records import GARBAGE_TOPICS, At, garbage, shifted
from tests.chaos.parts import Parts
from tests.chaos.points import POINTS
from tests.chaos.topic_log import rewind
from tests.waiting import eventually
from topics.names import RAW

_REACHED_WITHIN_S = 30.0
_GROUP_EMPTY_WITHIN_S = 60.0
_SESSION_ENDED_S = 12.0  # a worker that is away for longer loses its partitions


@dataclass
class Scene:
    """What faults act on, and what they leave word of."""

    parts: Parts
    ledger: Ledger
    number: int = 0
    garbage: list[At] = field(default_factory=list)
    not_reached: list[str] = field(default_factory=list)


Inject = Callable[[Scene, Random], float]


def kill(part: str) -> Inject:
    def inject(scene: Scene, _pick: Random) -> float:
        since_s = time.monotonic()
        scene.parts.kill(part)
        scene.parts.start(part)
        return since_s

    return inject


def lose_broker(name: str) -> Inject:
    """It is away for a while, and comes back under load."""

    def inject(scene: Scene, pick: Random) -> float:
        since_s = time.monotonic()
        scene.parts.kill(name)
        time.sleep(pick.uniform(0, 8))
        scene.parts.start(name)
        return since_s

    return inject


def kill_twice(scene: Scene, pick: Random) -> float:
    """The second time while it comes back."""
    scene.parts.kill("worker")
    scene.parts.start("worker")
    time.sleep(pick.uniform(0.5, 6))
    return kill("worker")(scene, pick)


def kill_several(scene: Scene, pick: Random) -> float:
    """Two or more parts at one time."""
    chosen = pick.sample(["kafka", "store", "ingress", "worker"], pick.randint(2, 4))
    since_s = time.monotonic()
    for part in chosen:
        scene.parts.kill(part)
    for part in chosen:
        scene.parts.start(part)
    return since_s


def kill_at(name: str) -> Inject:
    """At a named point; where it is not reached in time, from outside."""
    point = POINTS[name]

    def inject(scene: Scene, pick: Random) -> float:
        parts = scene.parts
        parts.kill(point.part)
        parts.start(point.part, name, pick.randint(1, point.most_calls))
        process = parts.process(point.part)
        with suppress(AssertionError):
            eventually(lambda: process.poll() is not None, name, _REACHED_WITHIN_S, poll_s=0.05)
        if process.poll() != -9:
            scene.not_reached.append(f"{name}, {point.says} (code {process.poll()})")
        return kill(point.part)(scene, pick)

    return inject


def pause(part: str, shortest_s: float, longest_s: float) -> Inject:
    def inject(scene: Scene, pick: Random) -> float:
        with scene.parts.paused(part):
            time.sleep(pick.uniform(shortest_s, longest_s))
        return time.monotonic()

    return inject


def slow(part: str) -> Inject:
    """Nine tenths of the time it stands still."""

    def inject(scene: Scene, pick: Random) -> float:
        for _ in range(pick.randint(10, 30)):
            with scene.parts.paused(part):
                time.sleep(0.27)
            time.sleep(0.03)
        return time.monotonic()

    return inject


def full_store(scene: Scene, pick: Random) -> float:
    """No byte is left where the store keeps its rows."""
    ballast = scene.parts.folder / "store" / "ballast"
    _fill(ballast)
    try:
        time.sleep(pick.uniform(3, 10))
    finally:
        ballast.unlink()
    return time.monotonic()


def second_worker(scene: Scene, pick: Random) -> float:
    """Comes and goes every few seconds, in order or not, ready or not."""
    for _ in range(pick.randint(2, 4)):
        scene.parts.start("worker-2")
        if pick.random() < 0.7:
            scene.parts.await_worker("worker-2")
        time.sleep(pick.uniform(0, 4))
        leave = pick.choice([scene.parts.kill, scene.parts.stop])
        leave("worker-2")
    return time.monotonic()


def stale_worker(scene: Scene, pick: Random) -> float:
    """One of two is paused until the other has its partitions, and then goes on with what it held."""
    scene.parts.start("worker-2")
    scene.parts.await_worker("worker-2")
    with scene.parts.paused(pick.choice(["worker", "worker-2"])):
        time.sleep(_SESSION_ENDED_S + pick.uniform(0, 5))
    time.sleep(pick.uniform(0, 3))
    scene.parts.kill("worker-2")
    return time.monotonic()


def lost_state(scene: Scene, _pick: Random) -> float:
    since_s = time.monotonic()
    scene.parts.kill("worker")
    scene.parts.lose_state("worker")
    scene.parts.start("worker")
    return since_s


def rewound(scene: Scene, pick: Random) -> float:
    """Two workers begin with the first raw record of all, one joining while the other reads, and one is killed."""
    parts = scene.parts
    parts.kill("worker")
    eventually(lambda: rewind(parts.settings, RAW), "the workers' group is empty", _GROUP_EMPTY_WITHIN_S, poll_s=0.5)
    parts.start("worker")
    if pick.random() < 0.5:
        parts.await_worker("worker")
    parts.start("worker-2")
    if pick.random() < 0.5:
        parts.await_worker("worker-2")
    time.sleep(pick.uniform(0, 3))
    since_s = time.monotonic()
    parts.kill("worker-2")
    return since_s


def shifted_clock(scene: Scene, pick: Random) -> float:
    ids = shifted(pick, scene.parts.settings, f"s{scene.number}")
    scene.ledger.will_send(ids, scene.number)
    scene.ledger.was_answered(ids, 200)  # Kafka has acknowledged them
    return time.monotonic()


def garbage_in(topic: str) -> Inject:
    def inject(scene: Scene, pick: Random) -> float:
        scene.garbage += garbage(pick, scene.parts.settings, topic)
        return time.monotonic()

    return inject


def can_be_filled(folder: Path) -> bool:
    """Only a small disk of its own is filled."""
    disk = os.statvfs(folder)
    return disk.f_blocks * disk.f_frsize <= 1 << 30


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 12))


OF_A_CLUSTER: Mapping[str, Inject] = {
    **{f"lose-kafka-{number}": lose_broker(f"kafka-{number}") for number in BROKERS},
    **{f"pause-kafka-{number}": pause(f"kafka-{number}", 1, 8) for number in BROKERS},
}
KINDS: Mapping[str, Inject] = {
    **{f"kill-{part}": kill(part) for part in ("ingress", "worker", "kafka", "store")},
    "kill-worker-twice": kill_twice,
    "kill-several": kill_several,
    **{f"at-{name}": kill_at(name) for name in POINTS},
    "pause-kafka": pause("kafka", 1, 20),
    "pause-store": pause("store", 1, 20),
    "pause-worker": pause("worker", 1, 15),
    "slow-store": slow("store"),
    "slow-kafka": slow("kafka"),
    "full-store": full_store,
    "second-worker": second_worker,
    "stale-worker": stale_worker,
    "lost-state": lost_state,
    "rewound": rewound,
    "shifted-clock": shifted_clock,
    **{f"garbage-{topic}": garbage_in(topic) for topic in GARBAGE_TOPICS},
}
