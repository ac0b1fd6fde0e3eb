"""Which message a record stands for, on each topic that the audit reads; and whether its person was forgotten."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline import dead_letters
from pipeline.audit import Message, place_id
from pipeline.outcome import Rejected
from pipeline.person import person_id
from pipeline.rules import Rules
from pipeline.validate import validate
from topics.control import Forgotten
from topics.names import RAW, REJECTED, STITCHED
from topics.orders import Forget, Order, order_of
from topics.raw import read_stamp
from topics.records import UNREADABLE, Headers, RawRecord
from topics.rejected import Reason
from topics.stitched import decode_receipt


def raw_message(record: RawRecord) -> Message | Order:
    """The message of a record of `events.raw`; one without a stamp goes by its place. Or what it is besides."""
    try:
        stamp = read_stamp(record.headers)
    except UNREADABLE:
        return order_of(record) or Message("", place_id(record.partition, record.offset), record.timestamp)
    return Message(stamp.project_id, stamp.message_id, stamp.received_at_ms)


def stitched_message(record: RawRecord) -> Message | None:
    try:
        receipt = decode_receipt(record.value or b"")
    except UNREADABLE:
        return None
    return Message(receipt.project_id, receipt.message_id, round(receipt.received_at * 1000))


def letter_message(record: RawRecord) -> Message | None:
    """The message of a dead letter; None where it stands for none of its own."""
    row = _row(record)
    if row["step"] == "link" or row["source_topic"] not in {RAW, STITCHED}:
        return None
    at_ms = round(row.get("received_at", row["rejected_at"]) * 1000)
    if row["reason"] == Reason.NO_STAMP or "message_id" not in row:
        return Message(row.get("project_id", ""), place_id(row["source_partition"], row["source_offset"]), at_ms)
    return Message(row.get("project_id", ""), row["message_id"], at_ms)


class Whose(NamedTuple):
    """The ids of an event that was received at `at_ms`; without any it is nobody's."""

    project_id: str
    user_id: str | None
    anonymous_id: str | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class _Letter:
    """A dead letter that might have been; satisfies RawRecord."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers
    topic: str = REJECTED
    partition: int = 0
    offset: int = 0


def whose(record: RawRecord, rules: Rules) -> Whose:
    """By the event that the record is, or else by what its dead letter tells of it."""
    event = validate(record, rules)
    if isinstance(event, Rejected):
        row = _row(_Letter(*dead_letters.dead_letter(record, event)))
        return Whose(row.get("project_id", ""), row.get("user_id"), row.get("anonymous_id"), record.timestamp)
    return Whose(event.project_id, event.user_id, event.anonymous_id, round(event.received_at * 1000))


class ForgottenIds:
    """Ids whose events were removed at a person's wish, by what is left of that: the person's id, and the orders to the
    workers. Of somebody who was tied to others, and never had an anonymous id, only the name they went by is left."""

    def __init__(self, persons: Iterable[Forgotten]) -> None:
        self._persons = {(person.project_id, person.person_id): person.forgotten_at_ms for person in persons}
        self._users: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._anonymous: defaultdict[tuple[str, str], int] = defaultdict(int)

    def learn(self, order: Forget, at_ms: int) -> None:
        self._latest(self._anonymous, (order.project_id, order.anonymous_id), at_ms)
        for user_id in order.user_ids:
            self._latest(self._users, (order.project_id, user_id), at_ms)

    def cover(self, whose: Whose) -> bool:
        """Whether it came before its person, as far as the event tells it, was forgotten."""
        project_id, user_id, anonymous_id, at_ms = whose
        person = str(person_id(project_id, user_id, anonymous_id))
        by_person = self._persons.get((project_id, person), 0)
        if user_id is not None:
            return at_ms <= max(by_person, self._users.get((project_id, user_id), 0))
        return at_ms <= max(by_person, self._anonymous.get((project_id, anonymous_id or ""), 0))

    @staticmethod
    def _latest(known: defaultdict[tuple[str, str], int], key: tuple[str, str], at_ms: int) -> None:
        known[key] = max(known[key], at_ms)


def _row(letter: RawRecord) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(dead_letters.row(letter).decode("utf-8", "surrogateescape"))
    return row
