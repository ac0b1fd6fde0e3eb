"""How a request of Mixpanel's clients is answered: `1` or `0`, or what they asked for beside it.

A `0` says that of the records one or more were not taken. Records that were sent in a field `data` are answered as
`/track` answers, wherever they were sent to: the clients that send them so understand nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from ingress.contract import Answer, json_answer, retry_headers
from ingress.errors import Problem
from pipeline.dialects.mixpanel_fields import Invalid

_TEXT: Final = ((b"content-type", b"text/plain; charset=utf-8"),)
_TAKEN: Final = Answer(200, b"1", _TEXT)
_TAKEN_VERBOSE: Final = json_answer(200, {"status": 1, "error": None})
_SOME_FAILED: Final = "some data points in the request failed validation"


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that was not taken, by its place in the request. `problem` is of its key, where that is why."""

    index: int
    insert_id: str | None
    field: str
    message: str
    problem: Problem | None = None

    def __str__(self) -> str:
        return f"record {self.index}: {self.field} {self.message}".replace(":  ", ": ")


@dataclass(frozen=True, slots=True)
class Manner:
    """How the client wants to be told. `is_import`: as `/import` tells, by JSON and HTTP status alone."""

    is_import: bool
    is_verbose: bool
    is_strict: bool

    def settled(self, taken: int, failures: Sequence[Failure]) -> Answer:
        """The answer once all records that hold are durable: of `taken` records, and of those that were not."""
        denied = next((each.problem for each in failures if each.problem is not None), None)
        if failures and self.is_strict:
            return _failed_records(denied.status if denied else 400, taken, failures)
        if denied is not None:
            return self.refused(denied)
        if self.is_import:
            return json_answer(200, {"code": 200, "num_records_imported": taken, "status": "OK"})
        if failures:
            return self._not_taken(200, str(failures[0]))
        return _TAKEN_VERBOSE if self.is_verbose else _TAKEN

    def refused(self, problem: Problem) -> Answer:
        """The answer to a request of which nothing was taken. Data that cannot be read is data that is not valid: to
        a client that did not ask for more, that is no error of HTTP."""
        if self.is_import or self.is_strict:
            return _error(problem)
        return self._not_taken(200 if problem.status == 400 else problem.status, problem.message)

    def _not_taken(self, status: int, message: str) -> Answer:
        if self.is_verbose:
            return json_answer(status, {"status": 0, "error": message})
        return Answer(status, b"0", _TEXT)


def refuse(problem: Problem) -> Answer:
    """A problem that the app found, to whichever client: none mistakes this for a success."""
    payload = {"status": 0, "error": problem.message, "code": problem.status}
    return json_answer(problem.status, payload, retry_headers(problem))


def refuse_import(problem: Problem) -> Answer:
    """The same, in the words of `/import`."""
    answer = _error(problem)
    return Answer(answer.status, answer.body, retry_headers(problem))


def failure(index: int, insert_id: str | None, invalid: Invalid) -> Failure:
    return Failure(index, insert_id, invalid.field, invalid.message)


def _failed_records(status: int, taken: int, failures: Sequence[Failure]) -> Answer:
    payload = {
        "code": status,
        "error": _SOME_FAILED,
        "status": HTTPStatus(status).phrase,
        "num_records_imported": taken,
        "failed_records": [
            {
                "index": each.index,
                "$insert_id": each.insert_id or "",
                "field": each.field,
                "message": f"'{each.field}' {each.message}" if each.field else f"the record {each.message}",
            }
            for each in failures
        ],
    }
    return json_answer(status, payload)


def _error(problem: Problem) -> Answer:
    payload = {"code": problem.status, "error": problem.message, "status": HTTPStatus(problem.status).phrase}
    return json_answer(problem.status, payload)
