"""The tables on a modern engine: their columns, and that an insert keeps what it was given."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from clickhouse_driver.block import ColumnOrientedBlock
from clickhouse_driver.bufferedwriter import BufferedSocketWriter
from clickhouse_driver.connection import ServerInfo
from clickhouse_driver.context import Context
from clickhouse_driver.streams.native import BlockOutputStream
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dead_letters import dead_letter
from pipeline.dead_letters import row as rejected_row
from pipeline.outcome import Rejected
from store import errors
from store.block import BlockShape
from store.client import BadRows, Store
from store.columns import insertable
from store.http import HttpStore
from store.tables import EDGES, EVENTS, LINKS, PERSONS, PROJECTS, REJECTED
from tests.fixtures.clickhouse import MODERN, NO_MODERN
from tests.records import TestRecord, raw_call
from tests.rows import edge_row, event_row, insert, link_row, migrated, person_row, project_row, seen
from topics import names
from topics.raw import STAMP_HEADER
from topics.records import RawRecord
from topics.rejected import REJECTION_HEADER, Reason

EVENT_COLUMNS = {
    "project_id": "LowCardinality(String)",
    "message_id": "String",
    "type": "LowCardinality(String)",
    "event_name": "LowCardinality(Nullable(String))",
    "anonymous_id": "Nullable(String)",
    "user_id": "Nullable(String)",
    "stitched_user_id": "Nullable(String)",
    "session_id": "Nullable(String)",
    "timestamp": "DateTime64(3, 'UTC')",
    "original_timestamp": "Nullable(DateTime64(3, 'UTC'))",
    "sent_at": "Nullable(DateTime64(3, 'UTC'))",
    "received_at": "DateTime64(3, 'UTC')",
    "properties": "JSON(max_dynamic_paths=256)",
    "traits": "JSON(max_dynamic_paths=256)",
    "context": "JSON(max_dynamic_paths=256)",
    "integrations": "String",
    "library": "LowCardinality(Nullable(String))",
    "warnings": "Array(LowCardinality(String))",
    "raw": "String",
}


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("modern", marks=pytest.mark.skipif(not MODERN, reason=NO_MODERN))]
)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with migrated(MODERN if request.param == "modern" else f"{request.getfixturevalue('store_url')}/schema") as opened:
        yield opened


@pytest.fixture
def project() -> str:
    return f"project-{uuid4()}"


def described(store: Store, table: str) -> dict[str, str]:
    return {row["name"]: row["type"] for row in store.query(f"DESCRIBE TABLE {table}")}


def test_events_has_exactly_the_documented_columns_in_order(store: Store) -> None:
    assert list(described(store, "events").items()) == list(EVENT_COLUMNS.items())


def test_resolved_events_have_the_same_columns_and_who_it_was(store: Store) -> None:
    more = {"person_id": "UUID", "resolved_user_id": "Nullable(String)"}
    assert list(described(store, "events_resolved_v").items()) == list({**EVENT_COLUMNS, **more}.items())


VIEW_COLUMNS = {
    "identity_facts": [
        *("project_id", "anonymous_id", "user_id", "timestamp", "message_id", "kind", "received_at"),
        *("anonymous_person_id", "user_person_id"),
    ],
    "identity_links": ["project_id", "anonymous_id", "user_id", "timestamp", "message_id", "kind", "received_at"],
    "identity_edges": [
        *("project_id", "kind", "from_user_id", "to_user_id", "state"),
        *("first_joined_at", "first_join_message_id", "first_join_received_at"),
        *("last_joined_at", "last_join_message_id", "last_join_received_at"),
        *("last_parted_at", "last_part_message_id", "last_part_received_at"),
    ],
    "identity_persons": [
        *("project_id", "user_id", "canonical_user_id", "person_id", "standing", "since", "message_id"),
        "user_person_id",
    ],
    "identity_conflicts": [
        *("project_id", "problem", "user_id", "other_user_id", "message_id", "since", "advice"),
    ],
    "anonymous_ids": [
        *("project_id", "anonymous_id", "anonymous_person_id", "users", "resets", "is_shared", "has_sole_owner"),
        *("sole_user_id", "sole_person_id"),
    ],
    "persons_v": [
        *("project_id", "person_id", "user_id", "anonymous_ids", "user_ids", "traits", "first_seen", "last_seen"),
        "events",
    ],
}
AS_OF = {
    "events_resolved_v": "events_resolved_as_of",
    "persons_v": "persons_as_of",
    **{name: f"{name}_as_of" for name in ("identity_facts", "identity_links", "identity_edges", "identity_persons")},
}


@pytest.mark.parametrize("view", VIEW_COLUMNS)
def test_view_has_exactly_the_documented_columns_in_order(store: Store, view: str) -> None:
    assert list(described(store, view)) == VIEW_COLUMNS[view]


@pytest.mark.parametrize("view", AS_OF)
def test_view_as_of_a_moment_has_the_columns_of_the_view_as_of_now(store: Store, view: str) -> None:
    asked = f"(SELECT * FROM {AS_OF[view]}(as_of = '2026-01-01 00:00:00'))"
    assert described(store, asked) == described(store, view)


def test_rejected_events_begin_with_the_same_columns(store: Store) -> None:
    columns = list(described(store, "rejected_events"))
    assert columns[: len(EVENT_COLUMNS) + 3] == [*EVENT_COLUMNS, "reason", "detail", "rejected_at"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{ "a" :\t1 ,\r\n "b": [ ] }'.replace(b"\r\n", b" "),
        rb'{"a":"\/ \u00e9 \ud83d\ude00 \ud800"}',
        '{"a":"é😀"}'.encode(),
        b'{"a":1,"a":2}',
        b'{"n":1E2,"m":1.0,"l":123456789012345678901234567890}',
        b'{"__proto__":{},"":"","a.b":null}',
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b'{"n":1e400}',
        b'{"a":"' + b"x" * 32_000 + b'"}',
    ],
    ids=["blanks", "escapes", "unicode", "duplicate keys", "numbers", "odd keys", "deep", "infinite", "32 KB"],
)
def test_raw_is_kept_byte_for_byte(store: Store, project: str, raw: bytes) -> None:
    insert(store, event_row(project_id=project, raw=raw))
    (row,) = seen(store, project, "hex(raw) AS raw")
    assert bytes.fromhex(str(row["raw"])) == raw


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b'{"a":1,"a":2}', {"a": 1}),
        (b'{"a.b":1,"a":{"b":2}}', {"a": {"b": 1}}),
        (b'{"":1}', {"": 1}),
        (b'{"n":18446744073709551616}', {"n": "18446744073709551616"}),
        (b'{"n":1' + b"0" * 400 + b"}", {"n": "1" + "0" * 400}),
        (b'{"day":"2026-01-01","at":"2026-01-01T00:00:00Z"}', {"day": "2026-01-01", "at": "2026-01-01T00:00:00Z"}),
        (b'{"list":[1,"x",{"b":1},null]}', {"list": [1, "x", {"b": 1}, None]}),
        (b'{"nothing":null,"empty":{}}', {}),
        (b'{"__proto__":{"x":"\\u0000"}}', {"__proto__": {"x": "\0"}}),
        (b'{"' + b"k" * 70_000 + b'":1}', {"k" * 70_000: 1}),
    ],
    ids=[
        *("duplicate keys", "the same path twice", "empty key", "2^64", "10^400", "dates stay text", "mixed list"),
        *("nothing in it", "odd texts", "long key"),
    ],
)
def test_odd_json_is_stored(store: Store, project: str, given: bytes, kept: dict[str, object]) -> None:
    insert(store, event_row(project_id=project, properties=given))
    (row,) = seen(store, project, "toJSONString(properties) AS properties")
    assert json.loads(str(row["properties"])) == kept


@pytest.mark.parametrize(
    "given",
    [rb'{"a":"\ud800"}', rb'{"\udfff":1}', b'{"n":1e400}', b'{"a":' * 1100 + b"1" + b"}" * 1100, b"[1]", b'"text"'],
    ids=["lone surrogate", "lone surrogate in a key", "infinite number", "1100 deep", "list", "text"],
)
def test_json_that_no_column_can_hold_is_a_bad_row(store: Store, project: str, given: bytes) -> None:
    with pytest.raises(BadRows):
        insert(store, event_row(project_id=project, properties=given))
    assert seen(store, project, "message_id") == []


def test_properties_are_asked_by_path(store: Store, project: str) -> None:
    insert(store, event_row(project_id=project, properties={"plan": "pro", "deep": {"er": 1}}))
    asked = "properties.plan.:String AS plan, toString(properties.plan) AS text, properties.deep.er.:Int64 AS er"
    assert seen(store, project, asked) == [{"plan": "pro", "text": "pro", "er": 1}]


def test_instants_are_kept_to_the_millisecond(store: Store, project: str) -> None:
    insert(store, event_row(project_id=project, timestamp=1790000000.123, sent_at=1790000000, original_timestamp=0.001))
    assert seen(store, project, "timestamp, sent_at, original_timestamp") == [
        {
            "timestamp": datetime(2026, 9, 21, 14, 13, 20, 123000, tzinfo=UTC),
            "sent_at": datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC),
            "original_timestamp": datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC),
        }
    ]


def test_events_of_very_many_months_are_halved_and_not_retried_for_ever(store: Store, project: str) -> None:
    months = [event_row(project_id=project, message_id=f"m{n}", received_at=n * 31 * 86_400) for n in range(150)]
    with pytest.raises(BadRows):
        store.insert(EVENTS, months, uuid4().hex)
    store.insert(EVENTS, months[:75], uuid4().hex)
    assert seen(store, project, "count() AS n") == [{"n": 75}]


def test_native_block_stores_the_same_as_json_rows(store: Store, project: str) -> None:
    """No modern server is needed for this: the driver's block, without its frame, is FORMAT Native."""
    given = {
        "anonymous_id": "é",
        "library": "x",
        "warnings": ["a", "b"],
        "sent_at": 1790000000.123,
        "properties": b'{ "plan" : "pro", "n": [1, "x"] }',
        "integrations": b'{"All": true}',
        "raw": b'{ "a" : "\\u00e9" }',
    }
    rows = [event_row(project_id=project, message_id=name, **given) for name in ("json", "native")]
    insert(store, rows[0])
    insert_native(store, EVENTS, [rows[1]])
    first, second = seen(store, project, "* EXCEPT message_id, message_id, hex(raw) AS bytes")
    assert (first.pop("message_id"), second.pop("message_id")) == ("json", "native")
    assert first == second
    assert first["properties"] == {"plan": "pro", "n": [1, "x"]}


def test_native_block_fits_the_other_tables(store: Store, project: str) -> None:
    insert_native(
        store, LINKS, [link_row(project_id=project), link_row(project_id=project, message_id="n", user_id=None)]
    )
    assert [row["user_id"] for row in seen(store, project, "message_id, user_id", "identity_links")] == ["U", None]
    insert_native(store, EDGES, [edge_row(project_id=project)])
    assert [row["state"] for row in seen(store, project, "state", "identity_edges")] == ["counts"]
    insert_native(store, PERSONS, [person_row(project_id=project)])
    assert [row["canonical_user_id"] for row in seen(store, project, "canonical_user_id", "identity_persons")] == ["U2"]
    insert_native(store, PROJECTS, [project_row(project_id=project, max_users_per_anonymous_id=0)])
    assert [row["is_shared"] for row in seen(store, project, "is_shared", "anonymous_ids")] == [1]
    insert_native(store, REJECTED, [rejected_row(refused(project, b"\xff"))])
    assert seen(store, project, "hex(raw) AS raw, headers", "rejected_events")[0]["raw"] == "FF"


def insert_native(store: Store, table: str, rows: list[bytes]) -> None:
    """Insert what the native client would send, over HTTP."""
    shape = insertable(store.query(f"DESCRIBE TABLE {table}"))
    block = BlockShape(shape).block(rows)
    context = Context()
    context.client_settings = {"use_numpy": False, "strings_as_bytes": False}
    context.settings = {}
    context.server_info = ServerInfo("", 0, 0, 0, 0, "UTC", "", used_revision=0)
    sent = Sent()
    output = BlockOutputStream(BufferedSocketWriter(sent, 1 << 20), context)
    output.write(ColumnOrientedBlock([(name, shape[name]) for name in block], list(block.values())))
    if not isinstance(store, HttpStore):
        pytest.skip("the native client itself is what every other test uses here")
    store._ask({"query": f"INSERT INTO {table} ({', '.join(block)}) FORMAT Native"}, bytes(sent.data), is_insert=True)


class Sent:
    """What a socket was given."""

    def __init__(self) -> None:
        self.data = bytearray()

    def sendall(self, data: bytes) -> None:
        self.data += data


def refused(project: str, value: bytes) -> RawRecord:
    """The dead letter of a record that came from this project's ingress."""
    headers = raw_call({}, project_id=project).headers
    record = TestRecord(value=value, key=b"key\xfe", headers=headers, partition=3, offset=2**40)
    key, refused_value, timestamp, headers = dead_letter(record, Rejected("validate", Reason.INVALID_JSON, "why"))
    return TestRecord(value=refused_value, key=key, headers=headers, timestamp=timestamp, topic=names.REJECTED)


@pytest.mark.parametrize(
    "value", [b"\xff\x00\n", b"", b'{"a":"\\ud800"}', b"[" * 100_000], ids=["bytes", "empty", "odd", "deep"]
)
def test_dead_letter_keeps_the_bytes_and_can_be_put_back(store: Store, project: str, value: bytes) -> None:
    letter = refused(project, value)
    for _ in range(2):
        insert(store, rejected_row(letter), table=REJECTED)
    asked = (
        "hex(raw) AS raw, hex(record_key) AS key, reason, detail, step, source_topic, source_partition, source_offset"
    )
    (row,) = seen(store, project, asked, "rejected_events")
    assert bytes.fromhex(str(row.pop("raw"))) == value
    assert bytes.fromhex(str(row.pop("key"))) == b"key\xfe"
    assert row == {
        "reason": "invalid_json",
        "detail": "why",
        "step": "validate",
        "source_topic": "events.raw",
        "source_partition": 3,
        "source_offset": 2**40,
    }


# Codes


NUMBERS = st.integers(-(10**400), 10**400) | st.integers(-(2**65), 2**65) | st.floats(allow_nan=False)
ODD_SCALARS: st.SearchStrategy[object] = st.sampled_from(["never", "\x00", "2026-01-01", None, True, [], {}])
SCALARS: st.SearchStrategy[object] = NUMBERS | st.text(max_size=20) | ODD_SCALARS
MEMBERS = st.dictionaries(st.sampled_from([*EVENT_COLUMNS, "userId", "messageId", "event"]), SCALARS)
FORGED = st.fixed_dictionaries(
    {"source_topic": st.text(), "detail": st.text(), "rejected_at_ms": NUMBERS},
    optional={"source_partition": NUMBERS, "source_offset": NUMBERS, "step": st.just("sink"), "reason": st.just("odd")},
)
STAMPS = st.builds(
    lambda at: b'{"project_id":"p","message_id":"m","received_at_ms":%d}' % at, st.integers(-(2**63), 2**64)
)


@given(
    MEMBERS.map(json.dumps).map(str.encode) | st.binary(),
    st.sampled_from([names.RAW, names.STITCHED, names.LINKS, names.REJECTED]),
    STAMPS | st.binary(),
    FORGED.map(json.dumps).map(str.encode) | st.none(),
    st.integers(-(2**63), 2**63 - 1),
)
@settings(max_examples=75)
def test_every_dead_letter_has_a_row_that_the_store_takes(
    store: Store, value: bytes, topic: str, stamp: bytes, forged: bytes | None, timestamp: int
) -> None:
    record = TestRecord(value=value, headers=((STAMP_HEADER, stamp),), timestamp=timestamp, topic=topic)
    _, _, _, headers = dead_letter(record, Rejected("sink", Reason.STORE_REFUSED, "why"))
    if forged is not None:
        headers = ((REJECTION_HEADER, forged),)
    letter = TestRecord(value=value, headers=headers, timestamp=timestamp, topic=names.REJECTED)
    store.insert(REJECTED, [rejected_row(letter)], uuid4().hex)


def test_codes_have_clickhouses_own_names(store: Store) -> None:
    named = {**errors._UNAVAILABLE, **errors._BAD_ROWS}
    sql = "SELECT code, errorCodeToName(code) AS name FROM (SELECT arrayJoin({codes:Array(UInt32)}) AS code)"
    assert {row["code"]: row["name"] for row in store.query(sql, {"codes": list(named)})} == named
