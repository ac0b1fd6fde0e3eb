"""A replay's partition decides what live would, whatever the batches and wherever it goes on."""

import pytest

from pipeline.dedupe import SeenIds
from pipeline.receipts import Receipts
from pipeline.rules import Rules
from replay.journal import Frame
from replay.partition import Decided, Partition
from replay.scope import Scope
from replay.source import Batch
from replay.state import Progress
from tests.records import START_MS, TestRecord, raw_call
from topics.orders import Forget, order_record
from topics.stitched import decode

RULES = Rules([], max_event_bytes=32 * 1024)
SCOPE = Scope(START_MS, START_MS + 1000, "p")


def partition() -> Partition:
    return Partition(Progress(0, 0, 0, 100), SCOPE, RULES, SeenIds(86_400), {})


def call(offset: int, at_ms: int, message_id: str, project_id: str = "p", **fields: object) -> TestRecord:
    body = {"type": "track", "event": "E", "anonymousId": "A", "messageId": message_id, **fields}
    return raw_call(body, at_ms=START_MS + at_ms, offset=offset, project_id=project_id)


RECORDS = [
    call(0, -5, "before"),
    call(1, 0, "first"),
    call(2, 1, "elsewhere", project_id="other"),
    call(3, 500, "identify", type="identify", userId="u"),
    call(4, 1000, "late", type="identify", userId="v"),
    call(5, 600, "second"),
    call(6, 700, "first"),
    call(7, 999, "nobody", anonymousId=None),
    call(8, 1001, "second again"),
]


def written(all_decided: list[Decided]) -> list[str]:
    return [
        decode(value or b"").message_id
        for decided in all_decided
        for decision in decided.decisions
        for _, value, _, _ in decision.stitched
    ]


def decided_in(batches: list[list[TestRecord]], given: Partition) -> list[Decided]:
    return [given.decide(Batch(0, batch, batch[-1].offset + 1)) for batch in batches]


def test_only_what_is_of_the_range_and_the_project_is_written() -> None:
    [decided] = decided_in([RECORDS], partition())
    assert written([decided]) == ["first", "identify", "second"]
    assert decided.frame.counts == {
        "events": 3, "links": 1, "edges": 0, "rejected": 1, "duplicates": 1, "outside": 4,
    }  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 4])
def test_batches_of_any_size_come_to_the_same(size: int) -> None:
    whole, parts = partition(), partition()
    [at_once] = decided_in([RECORDS], whole)
    piecewise = decided_in([RECORDS[n : n + size] for n in range(0, len(RECORDS), size)], parts)
    assert [d.stitched for p in piecewise for d in p.decisions if d.stitched]
    assert rows(piecewise) == rows([at_once])
    assert piecewise[-1].frame.counts == at_once.frame.counts


@pytest.mark.parametrize("cut", range(1, len(RECORDS)))
def test_state_that_is_read_back_decides_as_the_one_that_was_lost(cut: int) -> None:
    [at_once] = decided_in([RECORDS], partition())
    first = decided_in([RECORDS[:cut]], partition())
    resumed = partition()
    for decided in first:
        resumed.resume(decided.frame)
    assert resumed.position == cut
    assert rows([*first, *decided_in([RECORDS[cut:]], resumed)]) == rows([at_once])


def test_what_came_after_the_range_is_known_to_what_stands_behind_it() -> None:
    [decided] = decided_in([RECORDS[:5]], given := partition())
    late = decided_in([[call(9, 900, "stitched", timestamp="2026-09-21T14:13:25Z", sentAt=None)]], given)
    assert decode(late[0].decisions[0].stitched[0][1] or b"").stitched_user_id == "u"
    assert written([decided]) == ["first", "identify"]


def test_an_order_to_forget_is_obeyed() -> None:
    given = partition()
    decided_in([RECORDS[:4]], given)
    key, value, at_ms, headers = order_record(Forget("p", "A", ("u",)), START_MS + 600)
    forget = TestRecord(value, headers, key, offset=4, timestamp=at_ms)
    [decided] = decided_in([[forget, call(5, 700, "anonymous again")]], given)
    assert decode(decided.decisions[0].stitched[0][1] or b"").stitched_user_id is None
    resumed = partition()
    resumed.resume(Frame.of(4, Receipts.blank(0), {b"p|a:A": b'[[[0,"m","u"]],["u"]]'}, {}))
    resumed.resume(decided.frame)
    [again] = decided_in([[call(6, 800, "still")]], resumed)
    assert decode(again.decisions[0].stitched[0][1] or b"").stitched_user_id is None


def rows(all_decided: list[Decided]) -> list[object]:
    decisions = [decision for decided in all_decided for decision in decided.decisions]
    return [[row for d in decisions for row in getattr(d, name)] for name in ("stitched", "links", "rejected")]
