"""The worked cases through the whole service: requests over HTTP, real Kafka with 1 and 7 partitions, the store."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
class Whole:
    """The service, and keys of two kinds for each project that tests name; one writes them all before it starts."""

    system: System
    ingress: RunningIngress
    keys: dict[tuple[str, KeyKind], str]

    def send(self, message: Message, prefix: str, **more: object) -> Reply:
        secret = self.keys[prefix + message.project, message.key]
        if message.mixpanel is None:
            call = segment_call(message, LONG_AGO_MS) | more
            return self.ingress.post("/v1/" + str(call.pop("type")), call, secret)
        secret = self.keys[prefix + message.project, "public"]
        said = mixpanel_record(message, LONG_AGO_MS, **{"token": secret, "$insert_id": message.id})
        return self.ingress.request("POST", "/" + message.mixpanel, json.dumps(said).encode())

    def who(self, project: str) -> dict[str, str | None]:
        rows = self.system.rows(
            "SELECT message_id, resolved_user_id FROM events_resolved_v WHERE project_id = {p:String}", p=project
        )
        assert len({row["message_id"] for row in rows}) == len(rows)
        return {row["message_id"]: row["resolved_user_id"] for row in rows}

    def persons(self, project: str) -> dict[str, str]:
        sql = "SELECT user_id, canonical_user_id FROM identity_persons WHERE project_id = {p:String}"
        return {row["user_id"]: row["canonical_user_id"] for row in self.system.rows(sql, p=project)}

    def reasons(self, project: str) -> set[str]:
        rows = self.system.rows("SELECT DISTINCT reason FROM rejected_events WHERE project_id = {p:String}", p=project)
        return {row["reason"] for row in rows}


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
    eventually(lambda: whole.who(project) == expected, f"who did what: {expected}", poll_s=0.1)
    assert {id: expected[id] for id in case.who} == case.who
    known = {user: users[0] for users in case.persons for user in users}
    eventually(lambda: {**known, **whole.persons(project)}.items() >= known.items(), f"persons: {known}", poll_s=0.1)
    reasons = {reason for _, reason in case.letters}
    eventually(lambda: whole.reasons(project) - {TOLD_BY_ORDER} == reasons, "the dead letters", poll_s=0.1)


TOLD_BY_ORDER = "already_merged"
"""Of an identify whose anonymous id was another user's when it came."""


def test_clock_far_ahead(whole: Whole) -> None:
    """Case 21: what a client says is never later than its receipt."""
    ahead = {"timestamp": "2200-01-01T00:00:00Z"}
    assert whole.send(identify("a1", 0, "A", "U1", project="clock"), "", **ahead).status == 200
    now = {"timestamp": None}
    assert whole.send(identify("a2", 0, "A", "U2", project="clock"), "", **now).status == 200
    assert whole.send(track("a3", 0, "A", project="clock"), "", **now).status == 200
    eventually(lambda: whole.who("clock") == {"a1": "U1", "a2": "U2", "a3": "U2"}, "the second user", poll_s=0.1)


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
        eventually(lambda: whole.who("again") == expected, "all of them, once", 60, poll_s=0.2)
