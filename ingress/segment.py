"""The Segment family over HTTP: `POST /v1/{identify,track,page,screen,group,alias}`, `/v1/batch` and `/v1/import`, and
the short forms of analytics.js, `/v1/{i,t,p,s,g,a,b}`; `/v1/m`, where it reports on itself, is answered and forgotten.

Arrives: a request. Leaves: a record for each event, its value the client's own bytes of it, or what is answered at
once. Whether an event makes sense is decided behind the topic, where a replay can decide again.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import get_args

import msgspec

from ingress import segment_config
from ingress.auth import ingest_key_from, offered_secret, query_secret
from ingress.contract import Accepted, Refused, Request, Route, Routes, json_answer, refusal
from ingress.errors import Problem
from ingress.heads import BatchHead, Head, read_batch, read_head, read_item
from ingress.strict import is_strict, strict_refusal
from pipeline.directory import Directory
from pipeline.settings import Settings
from topics.control import Key
from topics.keys import record_key
from topics.raw import EMPTY_OBJECT, Stamp, stamp_header
from topics.records import Record
from topics.stitched import EventType

# What a topic takes. An item of a batch that is larger than an event may be becomes a dead letter, but not this one.
MAX_RECORD_BYTES = 1024 * 1024

# Every record repeats its batch's context: together no more than so many times the batch itself.
_MAX_REPEATED = 16
_MAX_USER_AGENT = 1024
_MAX_SENT_AT = 64
# RudderStack's browser client sends what is left at the end of a page to the last one, the key in the query.
_BATCHES = ("/v1/batch", "/v1/import", "/v1/b", "/beacon/v1/batch")

_SUCCESS = json_answer(200, {"success": True})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold, in bytes of JSON and in events."""

    max_event_bytes: int
    max_batch_bytes: int
    max_batch_events: int


def new_message_id() -> str:
    """128 random bits, as a UUID has 122, at a sixth of its price."""
    return os.urandom(16).hex()


def routes(settings: Settings, new_id: Callable[[], str] = new_message_id) -> Routes:
    """The paths of this dialect, each with and without a slash at its end."""
    limits = Limits(settings.max_event_bytes, settings.max_batch_bytes, settings.max_batch_events)
    calls = {
        f"/v1/{name}": Route(partial(_single, call, limits, new_id), refusal)
        for call in get_args(EventType)
        for name in (call, call[0])
    }
    batches = dict.fromkeys(_BATCHES, Route(partial(_batch, limits, new_id), refusal))
    metrics = {"/v1/m": Route(_forget, refusal)}
    taking = {**calls, **batches, **metrics}
    posts = {("POST", path + slash): route for path, route in taking.items() for slash in ("", "/")}
    return {**posts, **segment_config.routes()}


def _single(
    call: str, limits: Limits, new_id: Callable[[], str], request: Request, directory: Directory, now_ms: int
) -> Accepted | Refused:
    secret = offered_secret(request.headers)
    if isinstance(secret, Problem):
        return _refused(secret)
    if len(request.body) > limits.max_event_bytes:
        return _refused(Problem.EVENT_TOO_LARGE)
    head = read_head(request.body)
    if isinstance(head, Problem):
        return _refused(head)
    key = ingest_key_from(secret or head.write_key, request.headers.get(b"origin"), directory)
    if isinstance(key, Problem):
        return _refused(key)
    record = _record(request.body, head, _stamp(request, key, now_ms, call), new_id)
    return _accepted([record], request, key, directory, limits)


def _batch(
    limits: Limits, new_id: Callable[[], str], request: Request, directory: Directory, now_ms: int
) -> Accepted | Refused:
    secret = offered_secret(request.headers)
    if isinstance(secret, Problem):
        return _refused(secret)
    if len(request.body) > limits.max_batch_bytes:
        return _refused(Problem.BATCH_TOO_LARGE)
    head = read_batch(request.body)
    if isinstance(head, Problem):
        return _refused(head)
    secret = secret or head.write_key or query_secret(request.query)
    key = ingest_key_from(secret, request.headers.get(b"origin"), directory)
    if isinstance(key, Problem):
        return _refused(key)
    items = [bytes(item) for item in head.batch]
    if problem := _batch_problem(items, head, limits):
        return _refused(problem)
    stamp = _stamp(request, key, now_ms, call="")
    stamp = msgspec.structs.replace(
        stamp,
        sent_at=stamp.sent_at if head.sent_at is None else str(head.sent_at),
        context=_object(head.context),
        integrations=_object(head.integrations),
    )
    records = [_record(item, read_item(item), stamp, new_id) for item in items]
    return _accepted(records, request, key, directory, limits)


def _forget(_request: Request, _directory: Directory, _now_ms: int) -> Accepted | Refused:
    """analytics.js reports on itself, with no key and no events."""
    return Accepted((), _SUCCESS)


def _accepted(
    records: list[Record], request: Request, key: Key, directory: Directory, limits: Limits
) -> Accepted | Refused:
    if is_strict(request.headers):
        refused = strict_refusal(records, directory.projects.get(key.project_id), limits.max_event_bytes)
        if refused is not None:
            return Refused(refused)
    return Accepted(records, _SUCCESS, key)


def _batch_problem(items: list[bytes], head: BatchHead, limits: Limits) -> Problem | None:
    if len(items) > limits.max_batch_events:
        return Problem.TOO_MANY_EVENTS
    if any(len(item) > MAX_RECORD_BYTES for item in items):
        return Problem.EVENT_TOO_LARGE
    repeated = len(bytes(head.context)) + len(bytes(head.integrations))
    if repeated > MAX_RECORD_BYTES or repeated * len(items) > _MAX_REPEATED * limits.max_batch_bytes:
        return Problem.CONTEXT_TOO_LARGE
    return None


def _stamp(request: Request, key: Key, now_ms: int, call: str) -> Stamp:
    headers = request.headers
    user_agent, sent_at = headers.get(b"user-agent"), headers.get(b"sentat")
    return Stamp(
        project_id=key.project_id,
        message_id="",
        received_at_ms=now_ms,
        call=call,
        key_kind=key.kind,
        ip=request.ip,
        user_agent=user_agent[:_MAX_USER_AGENT].decode("latin-1") if user_agent else None,
        sent_at=sent_at.decode("latin-1") if sent_at and len(sent_at) <= _MAX_SENT_AT else None,
    )


def _record(value: bytes, head: Head, stamp: Stamp, new_id: Callable[[], str]) -> Record:
    message_id = (str(head.message_id) if head.message_id is not None else "") or new_id()
    key = record_key(stamp.project_id, _text(head.anonymous_id), _text(head.user_id), message_id)
    header = stamp_header(msgspec.structs.replace(stamp, message_id=message_id))
    return key, value, stamp.received_at_ms, (header,)


def _text(value: str | int | None) -> str | None:
    return value if value is None else str(value)


def _object(raw: msgspec.Raw) -> msgspec.Raw:
    return raw if bytes(raw).startswith(b"{") else EMPTY_OBJECT


def _refused(problem: Problem) -> Refused:
    return Refused(refusal(problem))
