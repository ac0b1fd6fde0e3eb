"""The example payloads of each topic are what the code reads and writes."""

import json
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import pytest

from pipeline.dedupe import SeenIds
from pipeline.merges import Merges
from pipeline.rules import Rules
from pipeline.stitch import decide
from tests.records import TestRecord
from topics import control, edges
from topics.keys import partition_of, record_key
from topics.names import (
    CHANGES,
    IDENTITY_CHANGELOG,
    LINKS,
    MERGES,
    PERSONS,
    PROJECTS,
    RAW,
    REJECTED,
    STITCHED,
    TOPICS,
)
from topics.records import Headers, Record


def examples(topic: str) -> list[dict[str, object]]:
    read = json.loads((files("topics") / "examples" / f"{topic}.json").read_text())
    assert isinstance(read, list)
    return read


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def raw_records() -> list[TestRecord]:
    return [_record(offset, example) for offset, example in enumerate(examples(RAW))]


def _record(offset: int, example: dict[str, object]) -> TestRecord:
    headers = example["headers"]
    assert isinstance(headers, dict)
    return TestRecord(
        value=compact(example["value"]),
        headers=tuple((name, compact(value)) for name, value in headers.items()),
        key=str(example["key"]).encode(),
        offset=offset,
        timestamp=int(str(example["timestamp_ms"])),
    )


def shown(records: Iterable[Record]) -> list[dict[str, object]]:
    return [
        {
            "key": (key or b"").decode(),
            "timestamp_ms": timestamp_ms,
            "headers": _shown_headers(headers),
            "value": json.loads(value or b"null"),
        }
        for key, value, timestamp_ms, headers in records
    ]


def _shown_headers(headers: Headers) -> dict[str, object]:
    return {name: json.loads(value) for name, value in headers}


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_each_topic_has_examples(topic: object) -> None:
    assert examples(getattr(topic, "name", ""))


def test_the_raw_examples_lead_to_the_examples_of_every_other_topic() -> None:
    records = raw_records()
    decision = decide(records, SeenIds(86_400), {}, Rules([], max_event_bytes=32 * 1024))
    changelog: list[Record] = [(key, value, records[-1].timestamp, ()) for key, value in decision.owners.items()]
    assert shown(decision.stitched) == examples(STITCHED)
    assert shown(decision.links) == examples(LINKS)
    assert {project_id: shown(edges) for project_id, edges in decision.edges.items()} == {"shop": examples(MERGES)}
    assert shown(decision.rejected) == examples(REJECTED)
    assert shown(changelog) == examples(IDENTITY_CHANGELOG)


def test_the_edge_examples_have_the_keys_that_their_facts_give() -> None:
    for example in examples(MERGES):
        fact = edges.decode(compact(example["value"]))
        assert edges.record_key(fact).decode() == example["key"]
        assert json.loads(edges.encode(fact)) == example["value"]


def test_the_edge_examples_lead_to_the_examples_of_persons_and_changes() -> None:
    """Each taken alone, as on a quiet day."""
    merges, steps, changes = Merges(), list[Record](), list[Record]()
    for offset, example in enumerate(examples(MERGES)):
        decision = merges.decide([_record(offset, example)], Rules([], max_event_bytes=32 * 1024))
        merges.remember(decision)
        steps += decision.steps
        changes += decision.changes
    assert shown(steps) == examples(PERSONS)
    assert shown(changes) == examples(CHANGES)


def test_the_payloads_that_the_identity_page_shows_are_examples() -> None:
    page = (Path(__file__).parents[2] / "docs/identity.md").read_text()
    shown_there = [json.loads(block) for block in re.findall(r"[^`]\n\n```json\n(.*?)```", page, re.DOTALL)]
    assert len(shown_there) == 3
    for payload, topic in zip(shown_there, (LINKS, MERGES, CHANGES), strict=True):
        assert payload in [example["value"] for example in examples(topic)]


def test_the_control_examples_are_records_of_projects_and_keys() -> None:
    for example in examples(PROJECTS):
        record = control.decode(compact(example["value"]))
        assert control.record_key(record).decode() == example["key"]


def test_keys_partition_as_the_java_client_does() -> None:
    from aiokafka.partitioner import DefaultPartitioner

    partitions = list(range(7))
    for n in range(200):
        key = record_key(f"p{n % 3}", f"anon-{'x' * (n % 9)}{n}" if n % 2 else None, f"ü{n}", "m")
        assert partition_of(key, 7) == DefaultPartitioner()(key, partitions, partitions)


@pytest.mark.parametrize(
    ("anonymous_id", "user_id", "key"),
    [("A", "U", b"p|a:A"), (None, "U", b"p|u:U"), (None, None, b"p|m:M"), ("", "", b"p|m:M")],
)
def test_all_that_is_known_of_an_anonymous_id_meets_under_its_key(
    anonymous_id: str | None, user_id: str | None, key: bytes
) -> None:
    assert record_key("p", anonymous_id, user_id, "M") == key


def test_a_key_is_kept_as_its_hash_alone() -> None:
    secret = control.new_key("secret")
    assert secret.startswith("sk_")
    assert len(secret) == 43
    record = control.Key(control.key_hash(secret), control.key_hint(secret), "p", "secret", 0)
    assert secret[7:] not in control.encode(record).decode()
