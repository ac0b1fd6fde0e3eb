"""One run: load, the faults of a plan one after the other, the recovery from each, and at the end the promise."""

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Protocol

from broker.errors import BrokerError
from pipeline.settings import Settings
from store.client import Store
from store.errors import StoreError
from tests.chaos.client import Clients, Ledger
from tests.chaos.odd_records import At
from tests.chaos.plan import Fault
from tests.chaos.promise import Broken, broken, seen_twice
from tests.chaos.topic_log import lag
from tests.chaos.traffic import PROBED, KeyRing, Traffic, post
from tests.waiting import eventually
from topics.keys import anonymous_key, partition_of

RECOVERED_WITHIN_S = 90.0
DRAINED_WITHIN_S = 120.0
_PROBE_TIMEOUT_S = 10.0

Say = Callable[[str], None]


class System(Protocol):
    """What takes events somewhere and is kept running."""

    @property
    def settings(self) -> Settings: ...
    @property
    def keys(self) -> KeyRing: ...
    @property
    def store(self) -> Store: ...
    def keep_up(self) -> None: ...


@dataclass
class Outcome:
    """`recovered_s` by kind of fault; `kinds` by the number of the fault. Where it is stuck, only what was seen until
    then is told."""

    kinds: dict[int, str] = field(default_factory=dict)
    recovered_s: dict[str, list[float]] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)
    is_stuck: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    seed: int
    requests_per_s: float


def run(
    system: System, ledger: Ledger, load: Load, faults: Iterable[Fault], inject: Callable[[Fault], float], say: Say
) -> Outcome:
    """`inject` brings a fault about, and returns the moment from which recovery counts. Ends at a fault that the system
    does not recover from."""
    outcome = Outcome()
    clients = Clients(system.settings.port, Traffic(load.seed, system.keys), ledger, load.requests_per_s)
    prober = Prober(system, ledger)
    try:
        clients.start()
        prober.await_stored("before the first fault", 0)
        for fault in faults:
            time.sleep(fault.after_s)
            clients.fault, clients.duplicates = fault.number, fault.duplicates
            outcome.kinds[fault.number] = fault.kind
            since_s = inject(fault)
            if not _has_recovered(fault, since_s, system, prober, outcome, say):
                outcome.is_stuck = True
                break
    finally:
        clients.stop()
    say(f"answers {dict(ledger.statuses)}; {len(ledger.answered):,} messages answered 2xx")
    return outcome


def verdict(system: System, ledger: Ledger, garbage: list[At], say: Say) -> list[Broken]:
    """What of the promise does not hold, once the workers have caught up."""
    began_s = time.monotonic()
    try:
        eventually(lambda: _is_drained(system), "the workers catch up", DRAINED_WITHIN_S, poll_s=0.2)
    except AssertionError as stuck:
        return [Broken("other", 0, str(stuck))]
    say(f"drained after {time.monotonic() - began_s:.1f} s; comparing with the model")
    return broken(system.settings, system.store, ledger, garbage)


def _has_recovered(fault: Fault, since_s: float, system: System, prober: "Prober", outcome: Outcome, say: Say) -> bool:
    try:
        took_s = prober.await_stored(f"after fault {fault.number}, {fault.kind}", since_s)
    except AssertionError as stuck:
        outcome.broken.append(Broken("other", fault.number, str(stuck)))
        say(f"#{fault.number} {fault.kind}: {stuck}")
        return False
    outcome.recovered_s.setdefault(fault.kind, []).append(took_s)
    outcome.broken += [
        Broken("twice", fault.number, f"{id}: a query shows it twice") for id in seen_twice(system.store)
    ]
    say(f"#{fault.number} {fault.kind} after {fault.after_s:.1f} s of calm: recovered in {took_s:.1f} s")
    return True


class Prober:
    """Sends one event to each partition, and waits until a query shows all of them."""

    def __init__(self, system: System, ledger: Ledger) -> None:
        self._system = system
        self._ledger = ledger
        self._numbers = itertools.count(1)

    def await_stored(self, when: str, since_s: float) -> float:
        """How long after `since_s` that was. Raises AssertionError where it does not come."""
        number = next(self._numbers)
        ids = [f"p{number}.{n}" for n in range(self._system.settings.partitions)]
        request = {"batch": [self._call(id, partition) for partition, id in enumerate(ids)]}
        named = [(PROBED.id, id) for id in ids]
        self._ledger.will_send(named, number - 1)
        eventually(lambda: self._is_taken(request), f"events are taken {when}", RECOVERED_WITHIN_S, poll_s=0.1)
        self._ledger.was_answered(named, 200)
        eventually(lambda: self._are_stored(ids), f"events are stored {when}", RECOVERED_WITHIN_S, poll_s=0.05)
        return time.monotonic() - since_s

    def _call(self, id: str, partition: int) -> dict[str, str]:
        """Of an anonymous id that lies on this partition."""
        count = self._system.settings.partitions
        names = (f"{id}.a{n}" for n in itertools.count())
        name = next(name for name in names if partition_of(anonymous_key(PROBED.id, name), count) == partition)
        return {"type": "track", "event": "Probe", "messageId": id, "anonymousId": name}

    def _is_taken(self, request: object) -> bool:
        self._system.keep_up()
        connection = HTTPConnection("127.0.0.1", self._system.settings.port, timeout=_PROBE_TIMEOUT_S)
        head, _, body = post("/v1/batch", request, self._system.keys[PROBED.id, "secret"]).partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines()[1:])
        try:
            connection.request("POST", "/v1/batch", body, headers)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _are_stored(self, ids: list[str]) -> bool:
        self._system.keep_up()
        sql = (
            "SELECT count() AS n FROM events WHERE project_id = {project:String} AND message_id IN {ids:Array(String)}"
        )
        try:
            [row] = self._system.store.query(sql, {"project": PROBED.id, "ids": ids})
        except StoreError:
            return False
        return bool(row["n"] == len(ids))


def _is_drained(system: System) -> bool:
    system.keep_up()
    try:
        return lag(system.settings) == 0
    except BrokerError:
        return False
