"""The same person and the same event, sent in each dialect, are the same canonical event."""

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from pipeline.rules import Rules
from pipeline.validate import validate
from tests.records import START_MS, TestRecord, only_link
from topics.links import LinkKind
from topics.raw import Dialect, Stamp, stamp_header
from topics.stitched import StitchedEvent

RULES = Rules([], max_event_bytes=32 * 1024)
DEVICE = "0b6d2f5e-3c1a-4d2b-9e4f-8a7c6b5d4e3f"
ID = "5d958f87-542d-4c10-9422-0ed75893dc81"
SECONDS = START_MS / 1000 - 10
ISO = "2026-09-21T14:13:10Z"

SAME_COLUMNS = (
    "project_id",
    "message_id",
    "type",
    "event_name",
    "anonymous_id",
    "user_id",
    "stitched_user_id",
    "session_id",
    "timestamp",
    "received_at",
    "sent_at",
    "integrations",
    "warnings",
)


@dataclass(frozen=True)
class Sent:
    """One call, as a dialect's client writes it, and the endpoint it goes to."""

    dialect: Dialect
    call: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What all of them tell beside the columns that are simply equal: of `properties` those that are the client's own,
    of `context` what every dialect has a place for."""

    sent: tuple[Sent, ...]
    properties: dict[str, Any] = field(default_factory=dict)
    traits: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)


def segment(call: str, **body: Any) -> Sent:
    return Sent(Dialect.SEGMENT, call, {"messageId": ID, "timestamp": ISO, **body})


def mixpanel(event: str, call: str = "track", /, **properties: Any) -> Sent:
    own = {"token": "t", "$insert_id": ID, "time": SECONDS, **properties}
    return Sent(Dialect.MIXPANEL, call, {"event": event, "properties": own})


def engage(**update: Any) -> Sent:
    return Sent(Dialect.MIXPANEL, "engage", {"$token": "t", "$insert_id": ID, "$time": SECONDS, **update})


def millimetric(call: str, **body: Any) -> Sent:
    return Sent(Dialect.MILLIMETRIC, call, {"event_id": ID, "timestamp": ISO, **body})


BUYER = {"anonymousId": DEVICE, "userId": "u"}
PRICE = {"price": 49.5, "plan": {"name": "pro"}}
PAGE = {"url": "https://shop.example/pricing", "referrer": "https://search.example/"}
SAME: dict[str, Told] = {
    "anonymous event": Told(
        (
            segment("track", event="Viewed", anonymousId=DEVICE, properties=PRICE),
            mixpanel("Viewed", distinct_id=f"$device:{DEVICE}", **{"$device_id": DEVICE}, **PRICE),
            mixpanel("Viewed", distinct_id=DEVICE, **PRICE),
            millimetric("track", event="Viewed", anonymous_id=DEVICE, properties=PRICE),
        ),
        properties=PRICE,
    ),
    "event of a user": Told(
        (
            segment("track", event="Bought", userId="u", properties=PRICE),
            mixpanel("Bought", distinct_id="u", **PRICE),
            mixpanel("Bought", "import", distinct_id="u", **PRICE),
        ),
        properties=PRICE,
    ),
    "event of a user at a device": Told(
        (
            segment("track", event="Bought", **BUYER, properties=PRICE),
            mixpanel("Bought", distinct_id="u", **{"$device_id": DEVICE, "$user_id": "u"}, **PRICE),
            millimetric("track", event="Bought", anonymous_id=DEVICE, user_id="u", properties=PRICE),
        ),
        properties=PRICE,
    ),
    "identify": Told(
        (
            segment("identify", **BUYER),
            mixpanel("$identify", **{"$identified_id": "u", "$anon_id": DEVICE}),
            mixpanel("$identify", distinct_id="u", **{"$device_id": DEVICE, "$user_id": "u"}),
            millimetric("identify", anonymous_id=DEVICE, user_id="u"),
            millimetric("track", event="$identify", anonymous_id=DEVICE, user_id="u"),
        ),
    ),
    "identify with traits": Told(
        (
            segment("identify", userId="u", traits={"first_name": "Ada", "email": "u@example.com", "plan": "pro"}),
            engage(**{"$distinct_id": "u", "$set": {"$first_name": "Ada", "$email": "u@example.com", "plan": "pro"}}),
        ),
        traits={"firstName": "Ada", "email": "u@example.com", "plan": "pro"},
    ),
    "identify by an email address": Told(
        (
            segment("identify", anonymousId=DEVICE, userId="u@example.com"),
            mixpanel("$identify", **{"$identified_id": "u@example.com", "$anon_id": DEVICE}),
        ),
        traits={"email": "u@example.com"},
    ),
    "alias of a device": Told(
        (
            segment("alias", userId="u", previousId=DEVICE, anonymousId=DEVICE),
            mixpanel("$create_alias", distinct_id=DEVICE, alias="u"),
        ),
        properties={"previousId": DEVICE},
    ),
    "merge": Told(
        (
            segment("track", event="$merge", properties={"$distinct_ids": ["u1", "u2"]}),
            mixpanel("$merge", "import", **{"$distinct_ids": ["u1", "u2"]}),
        ),
        properties={"$distinct_ids": ["u1", "u2"]},
    ),
    "reset": Told(
        (
            segment("track", event="$reset", anonymousId=DEVICE),
            mixpanel("$reset", **{"$device_id": DEVICE}),
            millimetric("track", event="$reset", anonymous_id=DEVICE),
        ),
    ),
    "page and library": Told(
        (
            segment(
                "track",
                event="Viewed",
                anonymousId=DEVICE,
                context={"page": PAGE, "os": {"name": "iOS"}, "library": {"name": "lib", "version": "1.2"}},
            ),
            mixpanel(
                "Viewed",
                **{"$device_id": DEVICE, "$current_url": PAGE["url"], "$referrer": PAGE["referrer"], "$os": "iOS"},
                **{"mp_lib": "lib", "$lib_version": "1.2"},
            ),
        ),
        context={"page": PAGE, "os": {"name": "iOS"}, "library": {"name": "lib", "version": "1.2"}},
    ),
}


def event_of(sent: Sent) -> StitchedEvent:
    stamp = Stamp("p", ID, START_MS, dialect=sent.dialect, call=sent.call, key_kind="secret")
    value = json.dumps(sent.body).encode()
    outcome = validate(TestRecord(value=value, headers=(stamp_header(stamp),), key=b"k"), RULES)
    assert isinstance(outcome, StitchedEvent), outcome
    return outcome


@pytest.mark.parametrize("told", SAME.values(), ids=SAME)
def test_same_event_in_each_dialect_is_the_same(told: Told) -> None:
    events = [event_of(sent) for sent in told.sent]
    columns = [[getattr(event, name) for name in SAME_COLUMNS] for event in events]
    assert all(each == columns[0] for each in columns)
    assert [json.loads(bytes(event.traits)) for event in events] == [told.traits] * len(events)
    assert {event.timestamp for event in events} == {SECONDS}
    assert {event.original_timestamp for event in events} == {SECONDS}
    for event in events:
        properties, context = json.loads(bytes(event.properties)), json.loads(bytes(event.context))
        assert told.properties.items() <= properties.items()
        assert told.context.items() <= context.items()


@pytest.mark.parametrize("told", SAME.values(), ids=SAME)
def test_same_event_in_each_dialect_states_the_same_of_its_anonymous_id(told: Told) -> None:
    facts = [only_link(event_of(sent), RULES) for sent in told.sent]
    # Mixpanel's own rule, that of several identifies of a device the first counts, makes another kind of the same link.
    alike = [fact and msgspec.structs.replace(fact, kind=LinkKind.EXACT) for fact in facts]
    assert all(fact == alike[0] for fact in alike)


def test_all_dialects_are_held_against_each_other() -> None:
    assert {sent.dialect for told in SAME.values() for sent in told.sent} == set(Dialect)
