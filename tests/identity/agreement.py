"""What the rows of the tables say, in the form in which the model says it, so that the two can be held together."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from tests.identity import model
from tests.identity.model import Resolved
from tests.identity.pure import Tables
from topics.control import Project
from topics.records import RawRecord
from topics.stitched import StitchedEvent

LinkRow = tuple[str, str, str | None, int, str, str, int]
"""Project, anonymous id, user, timestamp, messageId, kind, receipt."""


def as_ms(seconds: float) -> int:
    return round(seconds * 1000)


def kept_events(tables: Tables) -> dict[tuple[str, str], StitchedEvent]:
    """By project and messageId: the earliest receipt."""
    kept: dict[tuple[str, str], StitchedEvent] = {}
    for event in tables.decoded_events():
        known = kept.setdefault((event.project_id, event.message_id), event)
        if event.received_at < known.received_at:
            kept[event.project_id, event.message_id] = event
    return kept


def link_rows(tables: Tables) -> set[LinkRow]:
    """Facts of the earliest receipt of each message."""
    rows = defaultdict(set)
    for fact in tables.facts():
        at, received = as_ms(fact.timestamp), as_ms(fact.received_at)
        row = fact.project_id, fact.anonymous_id, fact.user_id, at, fact.message_id, fact.kind.value, received
        rows[fact.project_id, fact.message_id].add(row)
    return {row for same in rows.values() for row in same if row[-1] == min(each[-1] for each in same)}


def model_links(resolved: Mapping[str, Resolved]) -> set[LinkRow]:
    return {
        (project, fact.link.anonymous, fact.link.user, *fact.moment, fact.link.kind, fact.received_ms)
        for project, of_project in resolved.items()
        for fact in of_project.facts
    }


def known_persons(tables: Tables, as_of_ms: int | None = None) -> dict[tuple[str, str], tuple[str, str]]:
    """By project and user, of users that are not alone: the canonical user and the standing."""
    known = {}
    for (project, user), steps in tables.person_steps().items():
        since = [each for each in steps if as_of_ms is None or as_ms(each) <= as_of_ms]
        if since and steps[max(since)].standing != "alone":
            step = steps[max(since)]
            known[project, user] = step.canonical_user_id, step.standing.value
    return known


def model_persons(resolved: Mapping[str, Resolved]) -> dict[tuple[str, str], tuple[str, str]]:
    return {
        (project, user): (canonical, standing)
        for project, of_project in resolved.items()
        for user, (canonical, standing) in of_project.persons.items()
        if standing != "alone"
    }


def content(tables: Tables) -> dict[str, Any]:
    """All that is in the tables but what is provisional: the same however the messages came."""
    events = {
        key: (event.type, event.event_name, event.anonymous_id, event.user_id, event.timestamp, event.received_at)
        for key, event in kept_events(tables).items()
    }
    moments = {as_ms(event.received_at) for event in kept_events(tables).values()}
    return {
        "events": events,
        "raw": {key: bytes(event.raw) for key, event in kept_events(tables).items()},
        "links": link_rows(tables),
        "persons": {at_ms: known_persons(tables, at_ms) for at_ms in moments},
    }


def assert_agrees(tables: Tables, records: Iterable[RawRecord], settings: Mapping[str, Project]) -> None:
    """Events, facts and persons, these as of each receipt, are those of the model."""
    records = list(records)
    resolved = model.resolve(records, settings)
    events = {(project, id): event for project, of_one in resolved.items() for id, event in of_one.events.items()}
    seen = kept_events(tables)
    assert {key: (event.anonymous_id, event.user_id, as_ms(event.timestamp)) for key, event in seen.items()} == {
        key: (event.anonymous, event.user, event.at_ms) for key, event in events.items()
    }
    assert link_rows(tables) == model_links(resolved)
    for at_ms in sorted({record.timestamp for record in records}):
        assert known_persons(tables, at_ms) == model_persons(model.resolve(records, settings, at_ms))
