"""Plain records in compiled code, held to the plain Python of it."""

from collections.abc import Iterable, Mapping, Sequence

import pytest

from pipeline import without_compiler
from pipeline.claims import Claims
from pipeline.decision import Decision
from pipeline.dedupe import SeenIds
from pipeline.owners import Owners
from pipeline.rules import Rules
from pipeline.stamp_ids import stamp_ids
from pipeline.stitch import PlainBatch, decide
from topics.records import RawRecord

NOBODY: Mapping[bytes, bytes] = {}


def is_plain(record: RawRecord, rules: Rules) -> bool:
    """Whether it is decided in compiled code. Then what it comes to must be what it comes to in Python."""
    assert_decided_alike([record], NOBODY, rules)
    return bool(plain_rows([record], rules))


def plain_rows(records: Sequence[RawRecord], rules: Rules) -> list[int]:
    batch = PlainBatch(records, rules.max_event_bytes)
    claims, owners, decision = Claims(SeenIds(60), stamp_ids(records, batch)), Owners(NOBODY, rules), Decision()
    rows: list[int] = []
    at = 0
    while at < len(records):
        end = batch.take(at, claims, owners, decision)
        rows += range(at, end)
        at = end + 1
    return rows


def assert_decided_alike(
    records: Sequence[RawRecord], stored_owners: Mapping[bytes, bytes], rules: Rules, known: Iterable[RawRecord] = ()
) -> Decision:
    """In compiled code and without it, where `known` were stored before."""
    seen = SeenIds(86_400)
    seen.remember_new(decide([*known], seen, stored_owners, rules).claimed)
    decided = decide(records, seen, stored_owners, rules)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pipeline.stitch.PlainBatch", without_compiler.PlainBatch)
        assert decide(records, seen, stored_owners, rules) == decided
    return decided
