"""The examples of the pages that describe an identify, taken from the pages, over the whole way to their stored rows;
and what is odd in JSON, which must be stored or refused with a reason, and must stop nothing."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ingress_process import Reply
from tests.integration.whole_service import Service

SEEDS = Path(__file__).parents[3] / "shared" / "seeds"
SEGMENT, CUSTOMERIO, CUSTOMERIO_OLDER = (
    "002_ebc56ad044492f02.txt",
    "003_c9ee8f26b18476f2.txt",
    "001_ccfca6b82976c556.txt",
)
pytestmark = pytest.mark.skipif(not SEEDS.is_dir(), reason=f"the pages are not at {SEEDS}")


def page(name: str) -> str:
    return (SEEDS / name).read_text()


def blocks(name: str) -> list[bytes]:
    """The JSON blocks of a page in Markdown, as they stand."""
    return [found.encode() for found in re.findall(r"^```json\n(.*?)\n```$", page(name), re.DOTALL | re.MULTILINE)]


def older_block() -> bytes:
    """The JSON of the page that lost every line of nothing but brackets or a lone text."""
    lines = page(CUSTOMERIO_OLDER).splitlines()
    start = lines.index('  "type": "identify",')
    end = lines.index('      "keywords": [') + 1
    return _closed(["{", *lines[start:end]]).encode()


def _closed(lines: list[str]) -> str:
    """The lines with every bracket closed where the indentation says that it ends."""
    repaired: list[str] = []
    open_at: list[tuple[int, str]] = []
    for line in lines:
        indent = len(line) - len(line.lstrip())
        while open_at and open_at[-1][0] >= indent:
            repaired.append(open_at.pop()[1] + ",")
        repaired.append(line)
        if line.endswith(("{", "[")):
            open_at.append((indent, "}" if line.endswith("{") else "]"))
    text = "\n".join([*repaired, *(bracket for _, bracket in reversed(open_at))])
    return re.sub(r",(\s*[}\]])", r"\1", text)


def js_call(name: str, n: int) -> dict[str, Any]:
    """What a client makes of the page's n-th call of `identify` in JavaScript."""
    calls = re.findall(
        r"analytics\.identify\((?:(['\"])(.*?)\1, )?\{\n((?:\s+\w+: [^\n]*\n)+)", page(name), re.MULTILINE
    )
    _, user_id, members = calls[n]
    traits = {
        key: json.loads(re.sub(r"^'(.*)'$", r'"\1"', value.rstrip(",")))
        for key, value in re.findall(r"(\w+): ([^\n]*)", members)
    }
    return {"type": "identify", "userId": user_id or None, "anonymousId": "507f191e810c19729de860ea", "traits": traits}


def answered(reply: Reply) -> None:
    assert (reply.status, reply.json) == (200, {"success": True})


def checked(row: Mapping[str, Any], body: bytes, expected: Mapping[str, Any]) -> None:
    """Each column of the row is what is expected; and every row's `raw` is the very text that was sent."""
    now = datetime.now(UTC)
    assert now - timedelta(minutes=5) < row["received_at"] <= now
    computed = {
        "project_id": row["project_id"],
        "raw": body.decode(),
        "received_at": row["received_at"],
        "timestamp": row["received_at"],
        "type": "identify",
        "event_name": "$identify",
        "properties": {},
        "session_id": None,
        "stitched_user_id": expected.get("user_id"),
        "library": None,
        "warnings": [],
    }
    seen = {**row, "integrations": json.loads(row["integrations"])}
    assert seen == {**computed, **expected}


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_segments_typical_call_is_stored(service: Service) -> None:
    secret, key = service.key()
    body = blocks(SEGMENT)[0]
    answered(service.ingress.post("/v1/identify", body, secret))
    (row,) = service.rows(key.project_id, 1)
    checked(
        row,
        body,
        {
            "message_id": row["message_id"],
            "anonymous_id": None,
            "user_id": "97980cfea0067",
            "original_timestamp": None,
            "sent_at": None,
            "traits": {"name": "Peter Gibbons", "email": "peter@example.com", "plan": "premium", "logins": 5},
            "context": {},
            "integrations": {},
        },
    )
    assert re.fullmatch(r"[0-9a-f]{32}", row["message_id"])


def test_segments_complete_example_is_stored(service: Service) -> None:
    secret, key = service.key()
    body = blocks(SEGMENT)[1]
    answered(service.ingress.post("/v1/identify", body, secret))
    (row,) = service.rows(key.project_id, 1)
    sent = json.loads(body)
    checked(
        row,
        body,
        {
            "message_id": "022bb90c-bbac-11e4-8dfc-aa07a5b093db",
            "anonymous_id": "507f191e810c19729de860ea",
            "user_id": "97980cfea0067",
            "session_id": f"507f191e810c19729de860ea-{int(row['received_at'].timestamp()) // 1800}",
            "original_timestamp": instant("2015-02-23T22:28:55.111Z"),
            "sent_at": instant("2015-02-23T22:28:55.111Z"),
            "traits": {
                "name": "Peter Gibbons",
                "email": "peter@example.com",
                "plan": "premium",
                "logins": 5,
                "address": {
                    "street": "6th St",
                    "city": "San Francisco",
                    "state": "CA",
                    "postalCode": "94103",
                    "country": "USA",
                },
            },
            "context": {"channel": "browser", "ip": "8.8.8.8", "userAgent": sent["context"]["userAgent"]},
            "integrations": {"All": False, "Mixpanel": True, "Salesforce": True},
        },
    )


CAMPAIGN = dict.fromkeys(("name", "source", "medium", "term", "content"), "string")
PAGE = dict.fromkeys(("name", "path", "referrer", "search", "title", "url"), "string")
CONTEXT = {
    "active": True,
    "ip": "string",
    "locale": "string",
    "userAgent": "string",
    "channel": "browser",
    "campaign": CAMPAIGN,
}
FULL_PAYLOAD = {
    "message_id": "string",
    "anonymous_id": None,
    "user_id": "97980cfea0067",
    "original_timestamp": instant("2019-08-24T14:15:22Z"),
    "sent_at": instant("2019-08-24T14:15:22Z"),
    "integrations": {"All": True},
}
TRAITS = {"name": "Cool Person", "likes_baseball": True, "games_attended": 5}


def test_customerios_full_payload_is_stored(service: Service) -> None:
    secret, key = service.key()
    (body,) = blocks(CUSTOMERIO)
    answered(service.ingress.post("/v1/identify", body, secret))
    (row,) = service.rows(key.project_id, 1)
    page_ = {**PAGE, "keywords": ["string"]}
    expected = {
        **FULL_PAYLOAD,
        "traits": {**TRAITS, "email": "cool.person@example.com"},
        "context": {**CONTEXT, "page": page_},
    }
    checked(row, body, expected)


def test_customerios_older_full_payload_is_stored(service: Service) -> None:
    secret, key = service.key()
    body = older_block()
    answered(service.ingress.post("/v1/identify", body, secret))
    (row,) = service.rows(key.project_id, 1)
    page_ = {**PAGE, "keywords": []}
    expected = {**FULL_PAYLOAD, "traits": {**TRAITS, "email": ""}, "context": {**CONTEXT, "page": page_}}
    checked(row, body, expected)


CALLS = {
    "Segment's": (
        js_call,
        (SEGMENT, 0),
        "97980cfea0067",
        {"name": "Peter Gibbons", "email": "peter@example.com", "plan": "premium", "logins": 5},
    ),
    "Segment's anonymous": (js_call, (SEGMENT, 1), None, {"subscriptionStatus": "inactive"}),
    "Customer.io's": (
        js_call,
        (CUSTOMERIO, 0),
        "97980cfea0067",
        {"firstName": "cool", "lastName": "person", "name": "cool person", "email": "cool.person@example.com"},
    ),
    "Customer.io's anonymous": (js_call, (CUSTOMERIO, 1), None, {"subscriptionStatus": "inactive"}),
    "Customer.io's older": (
        js_call,
        (CUSTOMERIO_OLDER, 0),
        "97980cfea0067",
        {"firstName": "cool", "lastName": "person", "name": "cool person", "email": ""},
    ),
}


def test_the_calls_that_the_pages_show_in_javascript_are_stored(service: Service) -> None:
    secret, key = service.key()
    sent = [{**make(*given), "messageId": name} for name, (make, given, _, _) in CALLS.items()]
    answered(service.ingress.post("/v1/batch", {"batch": sent}, secret))
    seen = {row["message_id"]: row for row in service.rows(key.project_id, len(CALLS))}
    for name, (_, _, user_id, traits) in CALLS.items():
        assert (seen[name]["user_id"], seen[name]["traits"], seen[name]["warnings"]) == (user_id, traits, []), name
        assert seen[name]["anonymous_id"] == "507f191e810c19729de860ea"


def test_the_same_identify_on_every_page_view_is_stored_once(service: Service) -> None:
    secret, key = service.key()
    body = blocks(SEGMENT)[1]
    for _ in range(3):
        answered(service.ingress.post("/v1/identify", body, secret))
    answered(service.ingress.post("/v1/identify", {"userId": "last", "messageId": "z"}, secret))
    assert [row["message_id"] for row in service.rows(key.project_id, 2)] == [json.loads(body)["messageId"], "z"]
    assert service.links(key.project_id, 1) == [("507f191e810c19729de860ea", "97980cfea0067")]


def test_address_and_user_agent_of_a_client_side_call_are_stored(service: Service) -> None:
    secret, key = service.key("public")
    body = blocks(SEGMENT)[0]
    answered(service.ingress.post("/v1/identify", body, secret, **{"User-Agent": "UA/1"}))
    (row,) = service.rows(key.project_id, 1)
    assert row["context"] == {"ip": "127.0.0.1", "userAgent": "UA/1"}


def test_traits_of_somebody_anonymous_are_theirs_when_they_are_identified(service: Service) -> None:
    secret, key = service.key()
    for n, call in enumerate(
        [
            {
                "anonymousId": "A",
                "traits": {"plan": "free", "first_name": "Peter"},
                "timestamp": "2026-01-01T00:00:00Z",
            },
            {"anonymousId": "A", "userId": "U", "traits": {"plan": "pro"}, "timestamp": "2026-01-02T00:00:00Z"},
        ]
    ):
        answered(service.ingress.post("/v1/identify", {**call, "messageId": f"m{n}"}, secret))
    service.rows(key.project_id, 2)
    assert service.links(key.project_id, 1) == [("A", "U")]
    sql = "SELECT user_id, traits FROM persons_v WHERE project_id = {p:String}"
    people = service.system.rows(sql, p=key.project_id)
    assert [tuple(person.values()) for person in people] == [("U", {"plan": "pro", "firstName": "Peter"})]


def properties(text: bytes) -> bytes:
    return b'"properties":' + text


STORED: dict[str, tuple[bytes, object]] = {
    "an integer of 400 digits": (properties(b'{"x":%s}' % (b"9" * 400)), {"x": "9" * 400}),
    "integers around 64 bits": (
        properties(b'{"a":18446744073709551615,"b":18446744073709551616,"c":-9223372036854775809}'),
        {"a": 18446744073709551615, "b": "18446744073709551616", "c": "-9223372036854775809"},
    ),
    "a number too small": (properties(b'{"x":1e-999}'), {"x": 0}),
    "a prototype": (properties(b'{"__proto__":{"x":1},"constructor":1}'), {"__proto__": {"x": 1}, "constructor": 1}),
    "a name twice": (properties(b'{"x":1,"x":2}'), {"x": 1}),
    "a name with a dot": (properties(b'{"a.b":1}'), {"a": {"b": 1}}),
    "an empty name": (properties(b'{"":1}'), {"": 1}),
    "NUL": (properties(b'{"a\\u0000b":"c\\u0000d"}'), {"a\0b": "c\0d"}),
    "objects 200 deep": (properties(b'{"x":' * 200 + b"1" + b"}" * 200), None),
    "lists 200 deep": (properties(b'{"x":%s}' % (b"[" * 200 + b"]" * 200)), None),
    "half a surrogate pair": (properties(b'{"x":"cut \\ud83d"}'), {"x": "cut �"}),
    "a timestamp of 400 digits": (b'"timestamp":' + b"9" * 400, {}),
    "an id of 400 digits": (b'"userId":' + b"9" * 400, {}),
    "a NUL in an id": (b'"userId":"U\\u0000"', {}),
    "an unknown field": (b'"_metadata":{"x":[1]},"__proto__":null', {}),
}
REFUSED = {
    "a number too large": (properties(b'{"x":1e999}'), "store_refused"),
    "a number too large in a trait": (b'"traits":{"age":-1e999}', "store_refused"),
    "a timestamp too large": (b'"timestamp":1e999', "invalid_field"),
    "an id of 5000 digits": (b'"userId":' + b"9" * 5000, "invalid_field"),
}


def test_what_is_odd_in_json_is_stored_or_refused_and_stops_nothing(service: Service) -> None:
    secret, key = service.key()
    sent = {
        name: b'{"type":"identify","anonymousId":"A","messageId":"%s",%s}' % (name.encode(), text)
        for name, (text, _) in {**STORED, **REFUSED}.items()
    }
    answered(service.ingress.post("/v1/batch", b'{"batch":[%s]}' % b",".join(sent.values()), secret))
    answered(service.ingress.post("/v1/track", {"userId": "U", "event": "behind", "messageId": "~"}, secret))
    letters = service.dead_letters(key.project_id, len(REFUSED))
    assert {row["message_id"]: row["reason"] for row in letters} == {
        name: reason for name, (_, reason) in REFUSED.items()
    }
    rows = {row["message_id"]: row for row in service.rows(key.project_id, len(STORED) + 1)}
    assert rows.keys() == {*STORED, "~"}
    for name, (_, expected) in STORED.items():
        assert rows[name]["raw"] == sent[name].decode(), name
        if expected is not None:
            assert rows[name]["properties"] == expected, name
