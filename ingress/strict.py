"""Strict mode (Customer.io's `X-Strict-Mode: 1`): what would be taken now and rejected later is refused now.

It asks the very step that would reject the events, so the two never disagree. All of a request or nothing is taken.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ingress.contract import Answer, json_answer
from ingress.errors import Problem
from pipeline.outcome import Rejected
from pipeline.rules import Rules
from pipeline.validate import validate
from topics.control import Project
from topics.names import RAW
from topics.records import Headers, Record

# A client that has all of its events wrong learns nothing from the hundredth.
_MAX_TOLD = 20
_ON = (b"1", b"true")


@dataclass(frozen=True, slots=True)
class _Unpublished:
    """A record that has no place in its topic yet; satisfies RawRecord."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers
    topic: str = RAW
    partition: int = -1
    offset: int = -1


def is_strict(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"x-strict-mode") in _ON


def strict_refusal(records: Iterable[Record], project: Project | None, max_event_bytes: int) -> Answer | None:
    """Says which of the records would be rejected, by their place in the request, and why; None where none would."""
    rules = Rules([] if project is None else [project], max_event_bytes=max_event_bytes)
    errors = []
    for index, record in enumerate(records):
        outcome = validate(_Unpublished(*record), rules)
        if isinstance(outcome, Rejected):
            errors.append({"index": index, "reason": outcome.reason, "detail": outcome.detail})
            if len(errors) == _MAX_TOLD:
                break
    if not errors:
        return None
    problem = Problem.WOULD_BE_REJECTED
    payload = {"success": False, "code": problem.tag, "message": problem.message, "errors": errors}
    return json_answer(problem.status, payload)
