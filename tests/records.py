"""Records as tests need them: raw calls as an ingress would publish them."""

import json
import random
from dataclasses import dataclass

from pipeline.evidence import evidence
from pipeline.rules import Rules
from topics.keys import record_key
from topics.links import LinkFact
from topics.names import RAW
from topics.raw import Stamp, stamp_header
from topics.records import Headers
from topics.stitched import StitchedEvent

START_MS = 1_790_000_000_000


@dataclass(frozen=True)
class TestRecord:
    """A consumed record; satisfies RawRecord."""

    __test__ = False

    value: bytes | None
    headers: Headers = ()
    key: bytes | None = None
    topic: str = RAW
    partition: int = 0
    offset: int = 0
    timestamp: int = START_MS


def raw_call(
    body: dict[str, object] | bytes, *, at_ms: int = START_MS, project_id: str = "p", offset: int = 0, **stamp: object
) -> TestRecord:
    """One call to `events.raw`, received at `at_ms`. Its messageId is the body's, else made of the offset."""
    fields = body if isinstance(body, dict) else {}
    message_id = str(fields.get("messageId") or stamp.pop("message_id", f"m{offset}"))
    stamped = Stamp(project_id=project_id, message_id=message_id, received_at_ms=at_ms, **stamp)  # type: ignore[arg-type]
    value = json.dumps(body).encode() if isinstance(body, dict) else body
    key = record_key(project_id, _id(fields.get("anonymousId")), _id(fields.get("userId")), message_id)
    return TestRecord(value=value, headers=(stamp_header(stamped),), key=key, offset=offset, timestamp=at_ms)


def damaged(rng: random.Random, text: bytes) -> bytes:
    """Some bytes of it taken out, doubled, or made others."""
    start = rng.randrange(len(text))
    end = min(len(text), start + rng.choice([1, 1, 2, 8]))
    other: bytes = rng.choice(
        [b"", text[start:end] * 2, rng.choice([*b'"\\{}[]:,0-.eEtfn \n\0\x80\xff']).to_bytes(1, "big")]
    )
    return text[:start] + other + text[end:]


def only_link(event: StitchedEvent, rules: Rules) -> LinkFact | None:
    """The link that an event makes, if any; a test that expects more reads `evidence` itself."""
    links = evidence(event, rules.of(event.project_id)).links
    assert len(links) < 2
    return links[0] if links else None


def _id(value: object) -> str | None:
    return None if value is None else str(value)
