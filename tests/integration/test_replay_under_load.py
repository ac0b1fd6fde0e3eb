"""A rule is changed, the range replayed and swapped in while a client sends over HTTP and somebody reads: the swap is
killed at each of its points in turn, and completed by the same command.

What is held: no query shows an event twice, or misses a message that an earlier query showed; in the end the messages
that were answered with 2xx are the events, each once, and those of the dead letters.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from click.testing import CliRunner

from cli.replay import replay
from cli.replay_diff import diff
from cli.replay_swap import swap
from pipeline.settings import as_environ
from replay import state
from tests.integration.killed_swap import POINTS, swap_killed
from tests.integration.whole_service import Service
from tests.waiting import eventually
from topics.control import Project

GROUPS = 15
EVERY_S = 0.2
WITHIN_S = 90.0
_SEEN = """
SELECT message_id, 'event' AS as FROM events WHERE project_id = {p:String}
UNION ALL SELECT message_id, 'letter' AS as FROM rejected_events WHERE project_id = {p:String}
"""


@dataclass
class Client:
    """Sends groups of events of one anonymous id: before it is tied to a user, the tie, after it, and a wrong one.
    Every third group is sent twice."""

    service: Service
    secret: str
    answered: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)

    def send(self, group: str) -> None:
        events: list[dict[str, object]] = [
            {"event": "Looked", "messageId": f"before-{group}"},
            {"event": "Bought", "messageId": f"tie-{group}", "userId": f"U-{group}"},
            {"event": "Looked", "messageId": f"after-{group}"},
            {"event": "", "messageId": f"wrong-{group}"},
        ]
        batch = [{"type": "track", "anonymousId": f"A-{group}", **event} for event in events]
        for _ in range(2 if int(group[1:]) % 3 == 0 else 1):
            if self.service.ingress.post("/v1/batch", {"batch": batch}, self.secret).status == 200:
                self.answered.update(str(event["messageId"]) for event in events)
                self.wrong.add(f"wrong-{group}")

    @contextmanager
    def sending(self) -> Iterator[None]:
        numbers = count()
        with _again_and_again(lambda: self.send(f"n{next(numbers)}")):
            yield


@dataclass
class Reader:
    """Somebody who asks for all there is, again and again."""

    service: Service
    project: str
    seen: frozenset[tuple[str, str]] = frozenset()
    twice: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    asked: int = 0

    def ask(self) -> None:
        rows = [(row["message_id"], row["as"]) for row in self.service.system.rows(_SEEN, p=self.project)]
        now = set(rows)
        self.twice += sorted(id_ for (id_, as_), times in Counter(rows).items() if as_ == "event" and times > 1)
        self.lost += sorted(id_ for id_, _ in self.seen - now)
        self.seen |= now  # a new one: others may look at the old one just then
        self.asked += 1

    def has_seen(self, ids: set[str]) -> bool:
        return ids <= {id_ for id_, _ in self.seen}


@contextmanager
def _again_and_again(do: Callable[[], None]) -> Iterator[None]:
    """Where it fails, that is what the test fails of."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(EVERY_S):
            do()

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run)
        try:
            yield
        finally:
            ended.set()
            running.result()


@dataclass
class Scene:
    """A project whose events were taken under the wrong rule, which is put right since; then others are sent."""

    service: Service
    client: Client
    project: str
    from_ms: int
    to_ms: int

    def replayed(self) -> None:
        self.ran("start", "--from", _instant(self.from_ms), "--to", _instant(self.to_ms), "--project", self.project)

    def ran(self, name: str, *argv: str) -> str:
        command = {"diff": diff, "swap": swap}.get(name)
        result = CliRunner().invoke(command or replay, argv if command else [name, *argv], catch_exceptions=False)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    def attributed(self) -> dict[str, str | None]:
        """Whose the events after the tie were when they were taken."""
        where = "project_id = {p:String} AND startsWith(message_id, 'after-g')"
        rows = self.service.system.rows(
            f"SELECT message_id, stitched_user_id FROM events WHERE {where}", p=self.project
        )
        return {row["message_id"]: row["stitched_user_id"] for row in rows}

    def goes_on(self, reader: Reader) -> None:
        """What is answered from now on can be read, whatever state the swap is in. What was being inserted when tables
        were exchanged may have to wait for the swap to be completed."""
        before = set(self.client.answered)
        eventually(lambda: self.client.answered > before, "answers", WITHIN_S)
        answered = self.client.answered - before
        eventually(lambda: reader.has_seen(answered), "what was answered is read", WITHIN_S)


@pytest.fixture
def scene(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    settings = service.system.settings
    for name, value in as_environ(settings).items():
        monkeypatch.setenv(name, value)
    secret, key = service.key()
    client = Client(service, secret)
    service.system.set_project(Project(key.project_id, 0, implicit_links=False))
    from_ms = _now_ms()
    for n in range(GROUPS):
        client.send(f"g{n}")
    to_ms = _now_ms() + 1
    service.rows(key.project_id, 3 * GROUPS)
    service.system.set_project(Project(key.project_id, 0))
    yield Scene(service, client, key.project_id, from_ms, to_ms)
    for each in state.replay_ids(service.system.store, settings.store):
        CliRunner().invoke(replay, ["abort", each])


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "points",
    [
        pytest.param(["half exchanged"], id="one step"),
        pytest.param([*POINTS], id="each step", marks=pytest.mark.long),
    ],
)
def test_swap_under_load_keeps_the_promise_wherever_it_is_killed(scene: Scene, points: list[str]) -> None:
    reader = Reader(scene.service, scene.project)
    was = dict.fromkeys((f"after-g{n}" for n in range(GROUPS)), None)
    is_ = {f"after-g{n}": f"U-g{n}" for n in range(GROUPS)}
    with scene.client.sending(), _again_and_again(reader.ask):
        scene.replayed()
        _shows_exactly(json.loads(scene.ran("diff", "--json", "--samples", "20"))["report"], {*was})
        for point in points:
            assert scene.attributed() == was
            swap_killed(point, "--keep")
            scene.goes_on(reader)
            scene.ran("swap", "--keep")
            assert scene.attributed() == is_
            scene.ran("swap", "--back")
        scene.ran("swap")
        assert scene.attributed() == is_
        scene.goes_on(reader)
    assert (reader.twice, reader.lost) == ([], [])
    assert reader.asked > len(points)
    _holds_what_was_answered(scene)


def _shows_exactly(report: dict[str, Any], changed: set[str]) -> None:
    columns = [(each["name"], each["column"], each["rows"]) for each in report["columns"]]
    assert columns == [("Looked", "stitched_user_id", len(changed))]
    assert {each["message_id"] for each in report["samples"]} == changed
    totals = {name: (each["new"], each["gone"], each["changed"]) for name, each in report["totals"].items()}
    assert totals == {
        "events": (0, 0, len(changed)),
        "identity_links": (len(changed), 0, 0),
        "identity_edges": (0, 0, 0),
        "rejected_events": (0, 0, 0),
    }


def _holds_what_was_answered(scene: Scene) -> None:
    def ids(view: str) -> list[str]:
        sql = f"SELECT message_id FROM {view} WHERE project_id = {{p:String}}"
        return sorted(row["message_id"] for row in scene.service.system.rows(sql, p=scene.project))

    client = scene.client
    events, wrong = sorted(client.answered - client.wrong), sorted(client.wrong)
    eventually(lambda: len({*ids("rejected_events")}) >= len(wrong), "all dead letters", WITHIN_S)
    eventually(lambda: len(ids("events")) >= len(events), "all events", WITHIN_S)
    # A wrong message that is sent twice is refused twice, as nothing remembers it.
    assert (ids("events"), sorted({*ids("rejected_events")})) == (events, wrong)


def _instant(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
