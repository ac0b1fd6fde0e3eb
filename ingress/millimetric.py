"""Millimetric over HTTP: `POST /v1/identify`, `/v1/track` and `/v1/batch`.

Arrives: a request. Leaves: a record for each event, its value the client's own bytes of it, or what is answered at
once. Unlike the Segment family this dialect says at once what is wrong with an event, and takes all of a batch or
nothing of it; the rules are those that the pipeline reads by (`pipeline/dialects/millimetric.py`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import msgspec

from ingress.contract import Accepted, Answer, Refused, Request, Route, Routes, json_answer, retry_headers
from ingress.cors import may_send
from ingress.errors import Problem
from ingress.segment import new_message_id
from pipeline.dialects.millimetric import MAX_BATCH_EVENTS, MAX_PROPERTIES_BYTES, REQUIRED, Call, Invalid, read
from pipeline.directory import Directory
from pipeline.settings import Settings
from pipeline.surrogates import mended, original_items
from pipeline.validate import SYNTHETIC_PREFIX
from topics.control import Key, KeyKind
from topics.keys import record_key
from topics.raw import Dialect, Stamp, stamp_header
from topics.records import Record

CallName = Literal["identify", "track"]
KeyProblem = Literal[
    "missing_bearer_token",
    "malformed_api_key",
    "invalid_api_key",
    "key_kind_mismatch",
    "insufficient_scope",
    "origin_not_allowed",
]

_KEY_ERRORS: Final[dict[KeyProblem, tuple[int, str]]] = {
    "missing_bearer_token": (401, "send Authorization: Bearer and a key, pk_… or sk_…"),
    "malformed_api_key": (401, "the key does not have the form of one; copy it whole"),
    "invalid_api_key": (401, "no such key, or it was revoked; `whipstitch keys list` shows those that exist"),
    "key_kind_mismatch": (401, "the key is of another kind than its first letters say; copy it again"),
    "insufficient_scope": (403, "this key may not send events; use one with the scope `ingest`"),
    "origin_not_allowed": (
        403,
        "a public key needs an Origin that it lists (`whipstitch keys create --origin`); on a server use a secret key",
    ),
}
_KEY: Final = re.compile(r"(?:pk|sk|rk|ak)_[A-Za-z0-9_-]+")
_KINDS: Final[dict[str, KeyKind]] = {"pk_": "public", "sk_": "secret"}
_OTHER_KIND: Final = {"pk_": "sk_", "sk_": "pk_"}
_MAX_BATCH_BYTES: Final = MAX_BATCH_EVENTS * 2 * MAX_PROPERTIES_BYTES  # full properties, and as much again of the rest
_MAX_USER_AGENT: Final = 1024
_MAX_TOLD: Final = 20  # problems in one answer

_IDENTIFIED: Final = json_answer(200, {"ok": True})


class _Batch(msgspec.Struct):
    """`events` is Millimetric's own name for them, `batch` is what other services call them."""

    events: list[msgspec.Raw] | None = None
    batch: list[msgspec.Raw] | None = None


@dataclass(frozen=True, slots=True)
class _Sender:
    """What is the same for all events of a request."""

    key: Key
    ip: str | None
    user_agent: str | None
    received_at_ms: int


_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def routes(settings: Settings, new_id: Callable[[], str] = new_message_id) -> Routes:
    """The paths of this dialect, each with and without a slash at its end."""
    limit = settings.max_event_bytes
    paths = {
        "/v1/identify": Route(partial(_single, "identify", limit, new_id), refusal),
        "/v1/track": Route(partial(_single, "track", limit, new_id), refusal),
        "/v1/batch": Route(partial(_batch, limit, new_id), refusal, _MAX_BATCH_BYTES),
    }
    return {("POST", path + slash): route for path, route in paths.items() for slash in ("", "/")}


def refusal(problem: Problem) -> Answer:
    """A problem that the app found, under the name that Millimetric's clients know for its kind."""
    if problem.status >= 500:
        name = "internal_error"
    else:
        name = "rate_limited" if problem is Problem.RATE_LIMITED else "invalid_payload"
    answer = _answer(problem.status, name, {"": problem.message})
    return Answer(answer.status, answer.body, retry_headers(problem))


def _single(
    call: CallName, max_event_bytes: int, new_id: Callable[[], str], request: Request, directory: Directory, now_ms: int
) -> Accepted | Refused:
    key = _key(request, directory)
    if not isinstance(key, Key):
        return _refused_key(key)
    seen = _read(request.body, call, max_event_bytes)
    if isinstance(seen, Invalid):
        return _invalid(seen.problems)
    event_id = seen.event_id or new_id()
    record = _record(request.body, seen, event_id, call, _sender(request, key, now_ms))
    answer = _IDENTIFIED if call == "identify" else json_answer(202, {"ok": True, "event_id": event_id})
    return Accepted((record,), answer, key)


def _batch(
    max_event_bytes: int, new_id: Callable[[], str], request: Request, directory: Directory, now_ms: int
) -> Accepted | Refused:
    key = _key(request, directory)
    if not isinstance(key, Key):
        return _refused_key(key)
    items = _items(request.body)
    if isinstance(items, Invalid):
        return _invalid(items.problems)
    sender = _sender(request, key, now_ms)
    records: list[Record] = []
    problems: dict[str, str] = {}
    for position, item in enumerate(items):
        seen = _read(item, "track", max_event_bytes)
        if isinstance(seen, Call):
            records.append(_record(item, seen, seen.event_id or new_id(), "track", sender))
        elif len(problems) < _MAX_TOLD:
            problems |= {f"events.{position}.{name}".rstrip("."): told for name, told in seen.problems.items()}
    if problems:
        return _invalid(problems)
    return Accepted(records, json_answer(202, {"ok": True, "count": len(records)}), key)


def _key(request: Request, directory: Directory) -> Key | KeyProblem:
    """The key that may send this request, or why it may not."""
    scheme, _, token = request.headers.get(b"authorization", b"").partition(b" ")
    secret = token.strip().decode("latin-1")
    if scheme.lower() != b"bearer" or not secret:
        return "missing_bearer_token"
    if not _KEY.fullmatch(secret):
        return "malformed_api_key"
    key, prefix = directory.key_for(secret), secret[:3]
    if key is None:
        is_other = prefix in _OTHER_KIND and directory.key_for(_OTHER_KIND[prefix] + secret[3:]) is not None
        return "key_kind_mismatch" if is_other else "invalid_api_key"
    if key.kind != _KINDS.get(prefix):
        return "key_kind_mismatch"
    if "ingest" not in key.scopes:
        return "insufficient_scope"
    return key if key.kind == "secret" or _is_from(key, request.headers.get(b"origin")) else "origin_not_allowed"


def _is_from(key: Key, origin: bytes | None) -> bool:
    """A public key must come with an origin that it lists: a key that lists none is of no use to this dialect."""
    return bool(origin and key.origins) and may_send(key, origin)


def _items(body: bytes) -> list[bytes] | Invalid:
    readable = _readable(body)
    try:
        batch = _decode_batch(readable)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        return Invalid({path.strip(".`"): message})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _unreadable(error)
    name, items = ("events", batch.events) if batch.events is not None else ("batch", batch.batch)
    if items is None:
        return Invalid({"events": REQUIRED})
    if len(items) > MAX_BATCH_EVENTS:
        return Invalid({"events": f"Expected `array` of length <= {MAX_BATCH_EVENTS}"})
    if readable is not body:
        items = original_items(body, readable, bytes(_decode_members(readable)[name]), items)
    return [bytes(item) for item in items]


def _read(value: bytes, call: CallName, max_event_bytes: int) -> Call | Invalid:
    if len(value) > max_event_bytes:
        return Invalid({"": f"Expected at most {max_event_bytes} bytes"})
    try:
        if not value.isascii():
            value.decode()
        return read(_readable(value), call)
    except msgspec.ValidationError as error:
        return Invalid({"": str(error)})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _unreadable(error)


def _readable(value: bytes) -> bytes:
    """The same, or where JavaScript cut an emoji in two, something as long that can be read."""
    return (mended(value) or value) if b"\\u" in value else value


def _unreadable(error: Exception) -> Invalid:
    is_deep = isinstance(error, RecursionError)
    return Invalid({"": "Nested too deep to be read" if is_deep else "Expected JSON in UTF-8"})


def _sender(request: Request, key: Key, now_ms: int) -> _Sender:
    user_agent = request.headers.get(b"user-agent")
    return _Sender(
        key, request.ip, user_agent[:_MAX_USER_AGENT].decode("latin-1") if user_agent else None, received_at_ms=now_ms
    )


def _record(value: bytes, call: Call, event_id: str, name: CallName, sender: _Sender) -> Record:
    """The record of one event; an anonymous id that it lacks is made of its event id, so that a retry has the same."""
    made_up = None if call.anonymous_id else f"{SYNTHETIC_PREFIX}{event_id}"
    stamp = Stamp(
        project_id=sender.key.project_id,
        message_id=event_id,
        received_at_ms=sender.received_at_ms,
        dialect=Dialect.MILLIMETRIC,
        call=name,
        key_kind=sender.key.kind,
        ip=sender.ip,
        user_agent=sender.user_agent,
        anonymous_id=made_up,
    )
    key = record_key(stamp.project_id, call.anonymous_id or made_up, call.user_id, event_id)
    return key, value, stamp.received_at_ms, (stamp_header(stamp),)


def _refused_key(error: KeyProblem) -> Refused:
    status, message = _KEY_ERRORS[error]
    return Refused(_answer(status, error, {"": message}))


def _invalid(problems: dict[str, str]) -> Refused:
    return Refused(_answer(400, "invalid_payload", problems))


def _answer(status: int, error: str, problems: dict[str, str]) -> Answer:
    """An error in Millimetric's form: of the whole request in `formErrors`, of a field under its name."""
    details = {
        "formErrors": [told for name, told in problems.items() if not name],
        "fieldErrors": {name: [told] for name, told in problems.items() if name},
    }
    return json_answer(status, {"error": error, "details": details})
