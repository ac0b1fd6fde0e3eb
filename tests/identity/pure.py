"""The pipeline's own pure steps over a workload, in any order, on any number of partitions, in any batches, with
crashes: what the worker's agents do, without Kafka. Leaves the rows that each table of the store would get.
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Literal

from pipeline.decision import Decision
from pipeline.dedupe import SeenIds, seen_id
from pipeline.merges import Merges
from pipeline.rows import project_row, versioned_row
from pipeline.rules import Rules
from pipeline.stitch import decide
from tests.records import START_MS, TestRecord
from topics import control, links, persons, stitched
from topics.control import Project
from topics.edges import EdgeFact
from topics.edges import decode as decode_edge
from topics.keys import partition_of
from topics.links import LinkFact
from topics.names import MERGES, PERSONS, PROJECTS
from topics.persons import PersonStep
from topics.raw import read_stamp
from topics.records import Record
from topics.rejected import read_rejection
from topics.stitched import StitchedEvent, decode_receipt

WINDOW_S = 86_400.0
MAX_EVENT_BYTES = 32 * 1024


@dataclass(frozen=True)
class Delivery:
    """How records reach the worker: in their own order, or in any by `seed`, which decides all else too. `again` is the
    share of them that the topic holds twice; `crashes` lets the worker be killed between any two of its steps."""

    seed: int | None = None
    partitions: int = 4
    largest_batch: int = 8
    again: float = 0.0
    crashes: bool = False
    keeps_order: bool = False


@dataclass
class Tables:
    """Rows in the order in which the sinks take them, and the dead letters by messageId and reason."""

    events: list[bytes] = field(default_factory=list)
    links: list[bytes] = field(default_factory=list)
    edges: list[bytes] = field(default_factory=list)
    steps: list[bytes] = field(default_factory=list)
    projects: list[bytes] = field(default_factory=list)
    letters: set[tuple[str, str]] = field(default_factory=set)

    def copy(self) -> "Tables":
        return Tables(*(copy(getattr(self, each.name)) for each in fields(self)))

    def decoded_events(self) -> list[StitchedEvent]:
        return [stitched.decode(row) for row in self.events]

    def facts(self) -> list[LinkFact]:
        return [links.decode(row) for row in self.links]

    def edge_facts(self) -> list[EdgeFact]:
        return [decode_edge(row) for row in self.edges]

    def written(self) -> dict[tuple[str, str, int], str | None]:
        """Users at write time, by project, messageId and receipt."""
        return {
            (event.project_id, event.message_id, round(event.received_at * 1000)): event.stitched_user_id
            for event in self.decoded_events()
        }

    def person_steps(self) -> dict[tuple[str, str], dict[float, PersonStep]]:
        """By project and user, and by `since`: the step of the greatest version."""
        found: dict[tuple[str, str], dict[float, PersonStep]] = defaultdict(dict)
        for row in sorted(self.steps, key=lambda row: int(json.loads(row)["version"])):
            step = persons.decode_step(row)
            found[step.project_id, step.user_id][step.since] = step
        return found


def deliver(records: Iterable[TestRecord], settings: Mapping[str, Project], how: Delivery) -> Tables:
    """Everything from raw records to rows."""
    worker = Worker(settings, how)
    worker.run(arrivals(records, how))
    told = _as_read([(control.record_key(project), control.encode(project), 0, ()) for project in settings.values()])
    worker.tables.projects = [row for record in told if (row := project_row(record)) is not None]
    return worker.tables


def arrivals(records: Iterable[TestRecord], how: Delivery) -> list[TestRecord]:
    """The records in the order in which the topic holds them. That is any order, but that of two receipts of one
    message the later is behind the first, and what came days later is behind all: the ingress stamps what it writes."""
    arrived = list(records)
    if how.seed is None or how.keeps_order:
        return arrived
    pick = random.Random(how.seed)
    arrived += pick.sample(arrived, round(len(arrived) * how.again))
    pick.shuffle(arrived)
    places = defaultdict(list)
    for place, record in enumerate(arrived):
        stamp = read_stamp(record.headers)
        places[stamp.project_id, stamp.message_id].append(place)
    for same in places.values():
        in_order = sorted((arrived[place] for place in same), key=lambda record: record.timestamp)
        for place, record in zip(same, in_order, strict=True):
            arrived[place] = record
    return sorted(arrived, key=lambda record: record.timestamp - START_MS > WINDOW_S * 1000)


class Worker:
    """The state of a worker that holds all partitions, and what is durable of it."""

    def __init__(self, settings: Mapping[str, Project], how: Delivery) -> None:
        self.tables = Tables()
        self.owners: dict[bytes, bytes] = {}
        self._rules = rules = Rules(settings.values(), max_event_bytes=MAX_EVENT_BYTES)
        self._how = how
        self._pick = random.Random(how.seed)
        self._stitched: dict[int, list[bytes]] = defaultdict(list)
        self._seen: dict[int, SeenIds] = {}
        self._changelog: list[tuple[bytes, bytes | None]] = []
        self._merges = [_MergeAgent(rules, self.tables) for _ in range(how.partitions)]

    def run(self, arrived: Sequence[TestRecord]) -> None:
        waiting: dict[int, list[TestRecord]] = defaultdict(list)
        for record in arrived:
            waiting[partition_of(record.key or b"", self._how.partitions)].append(record)
        while waiting:
            partition = self._pick.choice(sorted(waiting))
            taken = waiting[partition][: self._pick.randint(1, self._how.largest_batch)]
            if self._settle(partition, taken):
                del waiting[partition][: len(taken)]
            if not waiting[partition]:
                del waiting[partition]
            if self._pick.random() < 0.5:
                self._merge()
        self._merge()

    def _settle(self, partition: int, records: Sequence[TestRecord]) -> bool:
        """Whether the batch's offset was committed."""
        seen = self._seen.setdefault(partition, SeenIds(WINDOW_S))
        decision = decide(records, seen, self.owners, self._rules)
        killed_after = self._pick.choice([0, 1, 2, None, None, None]) if self._how.crashes else None
        if killed_after == 0:
            return self.restart()
        self._publish_facts(decision)
        if killed_after == 1:
            return self.restart()
        self._stitched[partition] += [value for _, value, _, _ in decision.stitched if value is not None]
        self.tables.events += [value for _, value, _, _ in decision.stitched if value is not None]
        if killed_after == 2:
            return self.restart()
        seen.remember_new(decision.claimed)
        self.owners = dict(_latest([*self.owners.items(), *decision.owners.items()]))
        return True

    def _publish_facts(self, decision: Decision) -> None:
        self.tables.links += [value for _, value, _, _ in decision.links if value is not None]
        for project_id, edges in decision.edges.items():
            self._merges[partition_of(project_id.encode(), self._how.partitions)].waiting += edges
            self.tables.edges += [value for _, value, _, _ in edges if value is not None]
        self._changelog += decision.owners.items()
        for _, _, _, headers in decision.rejected:
            self.tables.letters.add((read_stamp(headers).message_id, read_rejection(headers).reason))

    def restart(self) -> Literal[False]:
        """A new process, which knows what the logs say. The last batch's offset was not committed."""
        self.owners = dict(_latest(self._changelog))
        self._seen = {}
        for partition, log in self._stitched.items():
            seen = self._seen[partition] = SeenIds(WINDOW_S)
            for value in log:
                receipt = decode_receipt(value)
                seen.remember(seen_id(receipt.project_id, receipt.message_id), receipt.received_at)
        for merges in self._merges:
            merges.restart()
        return False

    def _merge(self) -> None:
        for merges in self._merges:
            merges.run(self._pick, self._how)


class _MergeAgent:
    """The agent of one partition of `identity.merges`; `waiting` are the records that it has not committed."""

    def __init__(self, rules: Rules, tables: Tables) -> None:
        self.waiting: list[Record] = []
        self._rules = rules
        self._tables = tables
        self._facts: list[TestRecord] = []
        self._steps: list[TestRecord] = []
        self._merges: Merges | None = None

    def restart(self) -> None:
        self._merges = None

    def run(self, pick: random.Random, how: Delivery) -> None:
        while self.waiting:
            size = pick.randint(1, how.largest_batch)
            batch = _as_read(self.waiting[:size], MERGES, len(self._facts))
            del self.waiting[:size]
            self._facts += batch
            self._settle(batch)
            if how.crashes and pick.random() < 0.2:
                self.restart()
                self._settle(batch)

    def _settle(self, batch: list[TestRecord]) -> None:
        if self._merges is None:
            self._merges, batch = Merges(self._steps, len(self._steps)), self._facts
        decision = self._merges.decide(batch, self._rules)
        published = _as_read(decision.steps, PERSONS, len(self._steps))
        self._steps += published
        self._tables.steps += [row for step in published if (row := versioned_row(step)) is not None]
        self._merges.remember(decision)


def _as_read(records: Sequence[Record], topic: str = PROJECTS, start: int = 0) -> list[TestRecord]:
    return [
        TestRecord(value=value, headers=headers, key=key, topic=topic, offset=start + n, timestamp=timestamp)
        for n, (key, value, timestamp, headers) in enumerate(records)
    ]


def _latest(changes: Iterable[tuple[bytes, bytes | None]]) -> dict[bytes, bytes]:
    return {key: value for key, value in dict(changes).items() if value is not None}
