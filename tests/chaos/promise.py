"""The promise, held as sets, once everything runs and no worker is behind.

What was answered 2xx stands in `events.raw`. What stands there is stored or a dead letter, and nothing else is. No
query sees a message twice. Who did what, the links and the persons are those of the reference model, over what
`events.raw` holds.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from aiokafka import ConsumerRecord

from pipeline.settings import Settings
from store.client import Store
from tests.chaos import topic_log
from tests.chaos.client import Id, Ledger
from tests.chaos.odd_records import At
from tests.chaos.traffic import EVERY_PROJECT
from tests.identity import model
from tests.identity.agreement import LinkRow, model_links, model_persons
from tests.identity.model import Resolved
from topics.control import Project
from topics.names import RAW, STITCHED
from topics.raw import Stamp, read_stamp
from topics.stitched import decode_receipt

Claim = Literal["lost", "twice", "wrong owner", "other"]
Letter = tuple[str, str, str]
"""Project, messageId, reason."""

_SETTINGS: Mapping[str, Project] = {project.id: project for project in EVERY_PROJECT}
_PROJECTS = {"projects": list(_SETTINGS)}
_OURS = "WHERE project_id IN {projects:Array(String)}"
_TWICE = f"SELECT project_id, message_id FROM events {_OURS} GROUP BY project_id, message_id HAVING count() > 1"
_EVENTS = f"SELECT project_id, message_id FROM events {_OURS}"
_RESOLVED = f"SELECT project_id, message_id, resolved_user_id, person_id FROM events_resolved_v {_OURS}"
_LETTERS = """
    SELECT project_id, message_id, reason, source_topic, source_partition, source_offset FROM rejected_events
"""
_LINKS = f"SELECT * FROM identity_links {_OURS}"
_PERSONS = f"SELECT project_id, user_id, canonical_user_id, standing FROM identity_persons {_OURS}"


@dataclass(frozen=True, slots=True)
class Broken:
    """`fault` is the number of the last fault before the message was sent."""

    claim: Claim
    fault: int
    what: str


@dataclass
class Expected:
    """What must be in the store. `ids` are those of events; `letters` of dead letters, those of events that are kept
    among them."""

    arrived: set[Id] = field(default_factory=set)
    ids: set[Id] = field(default_factory=set)
    who: dict[Id, tuple[str | None, UUID]] = field(default_factory=dict)
    letters: set[Letter] = field(default_factory=set)
    links: set[LinkRow] = field(default_factory=set)
    persons: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)


@dataclass
class Seen:
    """What the views show of our projects."""

    counts: Counter[Id]
    who: dict[Id, tuple[str | None, UUID]]
    letters: set[Letter]
    letters_at: set[At]
    links: set[LinkRow]
    persons: dict[tuple[str, str], tuple[str, str]]


def broken(settings: Settings, store: Store, ledger: Ledger, garbage: Sequence[At]) -> list[Broken]:
    """Every way in which the promise does not hold."""
    expected, seen = expectation(settings), read(store)
    unlettered = [at for at in garbage if at.topic == RAW and at not in seen.letters_at]
    return [
        *differences(expected, seen, ledger),
        *(Broken("lost", 0, f"garbage without a dead letter: {at}") for at in unlettered),
    ]


def differences(expected: Expected, seen: Seen, ledger: Ledger) -> list[Broken]:
    """Between what must be there, what is, and what was promised."""
    return [
        *_by_message(expected, seen, ledger),
        *_by_row(expected, seen, ledger),
        *(Broken("other", 0, f"answered {n} times with {status}") for status, n in ledger.unexpected.items()),
    ]


def seen_twice(store: Store) -> list[Id]:
    """Messages that a query for events shows more than once."""
    rows = store.query(_TWICE, _PROJECTS)
    return [(row["project_id"], row["message_id"]) for row in rows]


def stitched_again(settings: Settings) -> int:
    """Records of `events.stitched` that repeat one within the window. The views hide them; consumers of the topic see
    them."""
    window_s, again = settings.dedupe_window_s, 0
    received: defaultdict[Id, list[float]] = defaultdict(list)
    for record in topic_log.records(settings, STITCHED):
        if record.key is not None and record.key.partition(b"|")[0].decode("utf-8", "replace") in _SETTINGS:
            event = decode_receipt(record.value or b"")
            earlier = received[event.project_id, event.message_id]
            again += any(event.received_at - each < window_s for each in earlier)
            earlier.append(event.received_at)
    return again


def expectation(settings: Settings) -> Expected:
    """By the reference model, from what stands in `events.raw`."""
    expected = Expected()
    for (project, _), records in _families(topic_log.records(settings, RAW)).items():
        expected.letters |= {(project, *letter) for letter in model.refusals(records, _SETTINGS)}
        expected.arrived |= {(project, read_stamp(record.headers).message_id) for record in records}
        kept = list(_without_repeats(records, settings.dedupe_window_s * 1000))
        resolved = model.resolve(kept, _SETTINGS)
        _add(expected, resolved)
    return expected


def _add(expected: Expected, resolved: Mapping[str, Resolved]) -> None:
    for project, of_family in resolved.items():
        expected.ids |= {(project, id) for id in of_family.events}
        expected.who |= {(project, id): who for id, who in of_family.who.items()}
    expected.links |= model_links(resolved)
    expected.persons |= model_persons(resolved)


def _families(records: Iterable[ConsumerRecord]) -> dict[tuple[str, str], list[ConsumerRecord]]:
    families = defaultdict(list)
    for record in records:
        stamp = _stamp(record)
        if stamp is not None and stamp.project_id in _SETTINGS:
            families[stamp.project_id, _family(stamp.message_id)].append(record)
    return families


def _without_repeats(records: Iterable[ConsumerRecord], window_ms: int) -> Iterator[ConsumerRecord]:
    """A message counts once in a window of received time: as it first came, by the order of the topic."""
    received: defaultdict[str, list[int]] = defaultdict(list)
    for record in records:
        stamp = read_stamp(record.headers)
        earlier = received[stamp.message_id]
        if not any(stamp.received_at_ms - each < window_ms for each in earlier):
            earlier.append(stamp.received_at_ms)
            yield record


def read(store: Store) -> Seen:
    events, resolved = store.query(_EVENTS, _PROJECTS), store.query(_RESOLVED, _PROJECTS)
    letters = store.query(_LETTERS)
    links, persons = store.query(_LINKS, _PROJECTS), store.query(_PERSONS, _PROJECTS)
    return Seen(
        counts=Counter((row["project_id"], row["message_id"]) for row in events)
        | Counter((row["project_id"], row["message_id"]) for row in resolved),
        who={(row["project_id"], row["message_id"]): (row["resolved_user_id"], row["person_id"]) for row in resolved},
        letters={
            (row["project_id"], row["message_id"], row["reason"]) for row in letters if row["project_id"] in _SETTINGS
        },
        letters_at={At(row["source_topic"], row["source_partition"], row["source_offset"]) for row in letters},
        links={_link(row) for row in links},
        persons={
            (row["project_id"], row["user_id"]): (row["canonical_user_id"], row["standing"])
            for row in persons
            if row["standing"] != "alone"
        },
    )


def _by_message(expected: Expected, seen: Seen, ledger: Ledger) -> Iterator[Broken]:
    def told(claim: Claim, ids: Set[Id], what: str) -> Iterator[Broken]:
        for id in sorted(ids):
            yield Broken(claim, ledger.sent.get(id, 0), f"{id}: {what}")

    letters = {(project, id) for project, id, _ in seen.letters}
    yield from told("lost", ledger.answered - expected.arrived, "answered 2xx, and not in events.raw")
    yield from told("lost", expected.arrived - seen.counts.keys() - letters, "in events.raw alone")
    yield from told("lost", expected.ids - seen.counts.keys() & letters, "refused, and should be stored")
    yield from told("other", seen.counts.keys() - expected.ids, "stored, and should not be")
    yield from told("other", (letters | seen.counts.keys()) - ledger.sent.keys(), "stored or refused, and never sent")
    yield from told("twice", {id for id, count in seen.counts.items() if count > 1}, "a query shows it more than once")
    for id in sorted(expected.who.keys() & seen.who.keys()):
        if expected.who[id] != seen.who[id]:
            what = f"{id}: done by {seen.who[id]}, by the model {expected.who[id]}"
            yield Broken("wrong owner", ledger.sent.get(id, 0), what)


def _by_row(expected: Expected, seen: Seen, ledger: Ledger) -> Iterator[Broken]:
    for letter in sorted(expected.letters - seen.letters):
        yield Broken("lost", ledger.sent.get(letter[:2], 0), f"dead letter that is not there: {letter}")
    for letter in sorted(seen.letters - expected.letters):
        yield Broken("other", ledger.sent.get(letter[:2], 0), f"dead letter that should not be there: {letter}")
    for link in sorted(expected.links ^ seen.links, key=str):
        where = "not in identity_links" if link in expected.links else "in identity_links, and should not be"
        yield Broken("wrong owner", ledger.sent.get((link[0], link[4]), 0), f"{link}: {where}")
    for key in sorted(expected.persons.keys() | seen.persons.keys()):
        if expected.persons.get(key) != seen.persons.get(key):
            project, user = key
            fault = ledger.sent.get((project, f"{_family(user)}.1"), 0)
            what = f"{key}: person {seen.persons.get(key)}, by the model {expected.persons.get(key)}"
            yield Broken("wrong owner", fault, what)


def _link(row: Mapping[str, object]) -> LinkRow:
    at_ms, received_ms = (round(row[name].timestamp() * 1000) for name in ("timestamp", "received_at"))  # type: ignore[attr-defined]
    return (  # type: ignore[return-value]
        *(row["project_id"], row["anonymous_id"], row["user_id"]),
        *(at_ms, row["message_id"], row["kind"], received_ms),
    )


def _stamp(record: ConsumerRecord) -> Stamp | None:
    try:
        return read_stamp(record.headers)
    except (ValueError, RecursionError):
        return None


def _family(id: str) -> str:
    return id.partition(".")[0]
