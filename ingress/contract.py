"""What a dialect is: pure functions from a request to what is to be published and answered.

A dialect is a table of `Route`s by (method, path). It reads no clock, no socket and no Kafka; the app around it
settles what it decides: publishes the records, waits until they are durable, and only then sends the answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ingress.errors import RETRY_AFTER_S, Problem
from pipeline.directory import Directory
from topics.control import Key
from topics.records import Record

Headers = tuple[tuple[bytes, bytes], ...]


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request with its whole body, decompressed. Header names are lower case; of a repeated one the last counts.
    `path` is without its percent encoding, `query` with it."""

    headers: dict[bytes, bytes]
    body: bytes
    query: bytes
    ip: str | None
    path: str = ""


class Answer:
    """A response, laid out once as the two messages that ASGI wants, since most answers are constants."""

    __slots__ = ("body", "end", "headers", "start", "status")

    def __init__(self, status: int, body: bytes, headers: Headers = ()) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        fixed: Headers = ()
        if status != 204:  # RFC 9110, 8.6: a 204 has no Content-Length.
            fixed = ((b"content-length", b"%d" % len(body)),)
            if not any(name == b"content-type" for name, _ in headers):
                fixed = ((b"content-type", b"application/json"), *fixed)
        self.start: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": [*fixed, *headers]}
        self.end: dict[str, Any] = {"type": "http.response.body", "body": body}


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """Publish these records; when all are durable, answer. The key says how many it may send, and who may read it."""

    records: Sequence[Record]
    answer: Answer
    key: Key | None = None


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Publish nothing; answer at once."""

    answer: Answer


Handler = Callable[[Request, Directory, int], Accepted | Refused]
"""Takes the request, the directory as of now, and the time of receipt in Unix milliseconds."""


@dataclass(frozen=True, slots=True)
class Route:
    """`refuse` says a problem that the app found (size, Kafka) in this dialect's own words. Where dialects share a
    path, `choose` takes a request's headers and body (b"" until it is there) and gives the route of its dialect.
    `with_credentials`: this dialect's browser clients can read only answers that admit credentials."""

    handle: Handler
    refuse: Callable[[Problem], Answer]
    max_body_bytes: int | None = None
    choose: "Callable[[dict[bytes, bytes], bytes], Route] | None" = None
    with_credentials: bool = False


Routes = Mapping[tuple[str, str], Route]
"""By method and path. One segment of a path may be a name in braces, which stands for anything: `/v1/{id}/settings`."""


def json_answer(status: int, payload: object, headers: Headers = ()) -> Answer:
    return Answer(status, msgspec.json.encode(payload), headers)


def refusal(problem: Problem) -> Answer:
    """A problem in the words of the Segment family, and of paths that belong to no dialect."""
    payload = {"success": False, "code": problem.tag, "message": problem.message}
    return json_answer(problem.status, payload, retry_headers(problem))


def retry_headers(problem: Problem) -> Headers:
    return ((b"retry-after", b"%d" % RETRY_AFTER_S),) if problem.status == 503 else ()
