"""The worked cases through the whole service: requests over HTTP, real Kafka with 1 and 7 partitions, the store."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from broker.control import write_control
from tests.fixtures.system import System, running_system
from tests.identity import model
from tests.identity.cases import CASES, Case
from tests.identity.messages import Message, identify, mixpanel_record, record, segment_call, track
from tests.integration.ingress_process import Reply, RunningIngress, running_ingress, wait_ready
from tests.waiting import eventually
from topics.control import Key, KeyKind, Project, key_hash, key_hint, new_key

LONG_AGO_MS = 1_600_000_000_000
ORDERS = ("as it stands", "reversed")
OF_ONE_ORDER = ("24", "25", "34")
"""Cases whose receipts are in the order of arrival."""
OF_THE_INGRESS_CLOCK = ("21",)


@dataclass
class Seen:
    """What the store shows of a project."""

    who: dict[str, str | None] = field(default_factory=dict)
    persons: dict[str, str] = field(default_factory=dict)
    reasons: set[str] = field(default_factory=set)


@dataclass
class Whole:
    """The service, and keys of two kinds for each project that tests name; one writes them all before it starts."""

    system: System
    ingress: RunningIngress
    keys: dict[tuple[str, KeyKind], str]
    _seen: defaultdict[str, Seen] = field(default_factory=lambda: defaultdict(Seen))

    def send(self, message: Message, prefix: str, **more: object) -> Reply:
        secret = self.keys[prefix + message.project, message.key]
        if message.mixpanel is None:
            call = segment_call(message, LONG_AGO_MS) | more
            return self.ingress.post("/v1/" + str(call.pop("type")), call, secret)
        secret = self.keys[prefix + message.project, "public"]
        said = mixpanel_record(message, LONG_AGO_MS, **{"token": secret, "$insert_id": message.id})
        return self.ingress.request("POST", "/" + message.mixpanel, json.dumps(said).encode())

    def seen(self, project: str, is_as_expected: Callable[[Seen], bool], what: str) -> None:
        """Return once the store shows of the project what is expected. All projects are read at once, and anew only
        where what was read before is not that yet: a query costs as much for one project as for all."""
        if not is_as_expected(self._seen[project]):
            eventually(lambda: is_as_expected(self.read()[project]), what, poll_s=0.1)

    def read(self) -> Mapping[str, Seen]:
        self._seen = defaultdict(Seen)
        rows = self.system.rows("SELECT project_id, message_id, resolved_user_id FROM events_resolved_v")
        for row in rows:
            self._seen[row["project_id"]].who[row["message_id"]] = row["resolved_user_id"]
        assert sum(len(seen.who) for seen in self._seen.values()) == len(rows)
        for row in self.system.rows("SELECT project_id, user_id, canonical_user_id FROM identity_persons"):
            self._seen[row["project_id"]].persons[row["user_id"]] = row["canonical_user_id"]
        for row in self.system.rows("SELECT DISTINCT project_id, reason FROM rejected_events"):
            self._seen[row["project_id"]].reasons.add(row["reason"])
        return self._seen


def prefix_of(case: Case, order: str) -> str:
    return f"{case.name}, {order}: "


@pytest.fixture(scope="module", params=[1, 7], ids=["one-partition", "seven-partitions"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("whole")
    with running_system(folder, partitions=request.param) as system:
        keys = make_keys(system)
        with system.worker(), running_ingress(system.settings.kafka, folder) as ingress:
            wait_ready(ingress)
            running = Whole(system, ingress, keys)
            for case in CASES:
                for order in ORDERS:
                    for message in arriving(case, order):
                        assert running.send(message, prefix_of(case, order)).status == 200
            yield running


def make_keys(system: System) -> dict[tuple[str, KeyKind], str]:
    kinds: tuple[KeyKind, KeyKind] = ("secret", "public")
    prefixes = [prefix_of(case, order) for case in CASES for order in ORDERS]
    names = [*(prefix + name for prefix in prefixes for name in ("p", "q")), "clock", "again"]
    keys = {(name, kind): new_key(kind) for name in names for kind in kinds}
    records: list[Key | Project] = [Project(name, 0) for name in names]
    for (name, kind), secret in keys.items():
        records.append(Key(key_hash(secret), key_hint(secret), name, kind, 0, origins=("*",)))
    asyncio.run(write_control(system.settings, records))
    return keys


def arriving(case: Case, order: str) -> Sequence[Message]:
    return case.messages if order == ORDERS[0] or case.name.startswith(OF_ONE_ORDER) else case.messages[::-1]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.name.startswith(OF_THE_INGRESS_CLOCK)], ids=lambda case: case.name
)
def test_worked_case(whole: Whole, case: Case, order: str) -> None:
    project = prefix_of(case, order) + "p"
    expected = {id: user for id, (user, _) in model.resolve(map(record, case.messages))["p"].who.items()}
    whole.seen(project, lambda seen: seen.who == expected, f"who did what: {expected}")
    assert {id: expected[id] for id in case.who} == case.who
    known = {user: users[0] for users in case.persons for user in users}
    whole.seen(project, lambda seen: {**known, **seen.persons}.items() >= known.items(), f"persons: {known}")
    reasons = {reason for _, reason in case.letters}
    whole.seen(project, lambda seen: seen.reasons - {TOLD_BY_ORDER} == reasons, "the dead letters")


TOLD_BY_ORDER = "already_merged"
"""Of an identify whose anonymous id was another user's when it came."""


def test_clock_far_ahead(whole: Whole) -> None:
    """Case 21: what a client says is never later than its receipt."""
    ahead = {"timestamp": "2200-01-01T00:00:00Z"}
    assert whole.send(identify("a1", 0, "A", "U1", project="clock"), "", **ahead).status == 200
    now = {"timestamp": None}
    assert whole.send(identify("a2", 0, "A", "U2", project="clock"), "", **now).status == 200
    assert whole.send(track("a3", 0, "A", project="clock"), "", **now).status == 200
    expected = {"a1": "U1", "a2": "U2", "a3": "U2"}
    whole.seen("clock", lambda seen: seen.who == expected, "the second user")


def test_mixpanel_is_told_what_it_may_not_say(whole: Whole) -> None:
    """Cases 29 to 31: `1` is only what is valid, and a merged anonymous id is."""
    replies = {}
    for case in CASES:
        for message in case.messages:
            if message.mixpanel is not None:
                replies[case.name[:2], message.id] = whole.send(message, prefix_of(case, ORDERS[0])).body
    assert replies == {
        ("29", "i1"): b"0",
        ("30", "i1"): b"1",
        ("30", "i3"): b"1",
        ("31", "m2"): b"0",
    }


def test_thousand_events_delivered_again_after_a_kill_change_nothing(whole: Whole) -> None:
    """Case 34."""
    batch = [identify("i1", 1, "A1", "U", project="again")]
    batch += [track(f"e{n}", n, f"A{n % 9}", project="again") for n in range(999)]
    expected = {"i1": "U", **{f"e{n}": "U" if n % 9 == 1 else None for n in range(999)}}
    for _ in range(2):
        calls = {"batch": [segment_call(message, LONG_AGO_MS) for message in batch]}
        with whole.system.worker(worker_id="w2") as worker:
            assert whole.ingress.post("/v1/batch", calls, whole.keys["again", "secret"]).status == 200
            eventually(
                lambda: whole.system.count("events WHERE project_id = 'again'") > 0, "the first of them", poll_s=0.02
            )
            worker.kill()
        eventually(lambda: whole.read()["again"].who == expected, "all of them, once", 60, poll_s=0.2)
