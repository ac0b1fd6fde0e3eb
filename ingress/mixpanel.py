"""Mixpanel over HTTP: `/track`, `/import`, `/engage` and `/groups`, by POST, and by GET as its node client sends.

Arrives: a request. Leaves: a record for each of its records, its value the client's own bytes of it, and an answer
that says whether all of them hold; the rules are those by which the pipeline reads (`pipeline/dialects/mixpanel.py`).
A record that breaks them is published as well, and becomes a dead letter with its reason, except where the answer
names it (`strict=1`) or where no key says whose it is.
"""

import binascii
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from ingress.auth import ingest_key_from
from ingress.contract import Accepted, Refused, Request, Route, Routes
from ingress.errors import Problem
from ingress.mixpanel_answers import Failure, Manner, failure, refuse, refuse_import
from ingress.mixpanel_request import Sent, items_of, read_request
from ingress.segment import MAX_RECORD_BYTES, new_message_id
from pipeline.dialects.mixpanel import ENDPOINTS, Head, read_head, read_record
from pipeline.dialects.mixpanel_fields import Endpoint, Invalid, Record
from pipeline.directory import Directory
from pipeline.reserved import OF_TWO_IDS
from pipeline.settings import Settings
from pipeline.surrogates import mended
from pipeline.validate import SYNTHETIC_PREFIX
from topics import records as published
from topics.control import Key
from topics.keys import record_key
from topics.raw import Dialect, Stamp, stamp_header
from topics.rejected import Reason

MAX_EVENTS: Final = 2000
MAX_BODY_BYTES: Final = 10 * 1024 * 1024

_MAX_USER_AGENT: Final = 1024
_NO_HEAD: Final = Head(None, None)


@dataclass(frozen=True, slots=True)
class _Sender:
    """What all records of a request have in common."""

    endpoint: Endpoint
    received_at_ms: int
    max_event_bytes: int
    ip: str | None
    says_ip: bool
    user_agent: str | None


def routes(settings: Settings, new_id: Callable[[], str] = new_message_id) -> Routes:
    """The paths of this dialect, each with and without a slash at its end."""
    paths = {
        endpoint: Route(
            partial(_take, endpoint, settings.max_event_bytes, new_id),
            refuse_import if endpoint == "import" else refuse,
            MAX_BODY_BYTES,
            with_credentials=True,
        )
        for endpoint in ENDPOINTS
    }
    return {
        (method, f"/{endpoint}{slash}"): route
        for endpoint, route in paths.items()
        for slash in ("", "/")
        for method in ("GET", "POST")
    }


def _take(
    endpoint: Endpoint,
    max_event_bytes: int,
    new_id: Callable[[], str],
    request: Request,
    directory: Directory,
    now_ms: int,
) -> Accepted | Refused:
    sent = read_request(request)
    is_import = endpoint == "import"
    manner = Manner(is_import and sent.is_plain, sent.is_verbose, sent.is_strict)
    items = sent.data if isinstance(sent.data, Problem) else items_of(sent.data, may_be_lines=is_import)
    if isinstance(items, Problem):
        return Refused(manner.refused(items))
    if len(items) > MAX_EVENTS or any(len(item) > MAX_RECORD_BYTES for item in items):
        return Refused(manner.refused(Problem.BODY_TOO_LARGE))
    keys = _Keys(request, sent.api_key, directory, comes_first=is_import)
    sender = _sender(endpoint, max_event_bytes, request, sent, now_ms)
    records: list[published.Record] = []
    failures: list[Failure] = []
    taken = 0
    for index, item in enumerate(items):
        head, record, key = _read(item, sender, keys)
        if isinstance(key, Problem):
            failures.append(_denied(index, head, key, sender))
            continue
        if isinstance(record, Invalid):
            failures.append(failure(index, head.insert_id, record))
            if sent.is_strict:
                continue
        else:
            taken += 1
        records.append(_published(item, record, key, sender, new_id))
    return Accepted(records, manner.settled(taken, failures), keys.first)


class _Keys:
    """Which key a record is sent with: that of the request (Basic, Bearer, or `api_key`), or the record's token.

    On `/import` the request's comes first, elsewhere the token: a browser's requests may carry credentials that are
    none of ours. `first` is the first that was found.
    """

    def __init__(self, request: Request, api_key: str | None, directory: Directory, comes_first: bool) -> None:
        self._directory = directory
        self._origin = request.headers.get(b"origin")
        self._comes_first = comes_first
        self._known: dict[str, Key | Problem] = {}
        self._of_request = self._request_key(request.headers.get(b"authorization"), api_key)
        self.first: Key | None = None

    def of(self, token: str | None) -> Key | Problem:
        if self._of_request is not None and (self._comes_first or token is None):
            key = self._of_request
        else:
            key = self._key(token)
        if self.first is None and isinstance(key, Key):
            self.first = key
        return key

    def _key(self, secret: str | None) -> Key | Problem:
        if secret is None:
            return Problem.MISSING_KEY
        known = self._known.get(secret)
        if known is None:
            known = self._known[secret] = ingest_key_from(secret, self._origin, self._directory)
        return known

    def _request_key(self, authorization: bytes | None, api_key: str | None) -> Key | Problem | None:
        """A key as Basic's user name or, as of a service account, its password; of several the first that exists. An
        `api_key` that is none of ours is not looked at: clients send it beside the token."""
        if authorization is not None:
            offered = _offered(authorization)
            found = [self._key(secret) for secret in offered]
            return next((key for key in found if isinstance(key, Key)), found[0] if found else Problem.MISSING_KEY)
        key = self._key(api_key) if api_key is not None else None
        return key if isinstance(key, Key) else None


def _offered(authorization: bytes) -> list[str]:
    scheme, _, credentials = authorization.partition(b" ")
    match scheme.lower():
        case b"basic":
            try:
                user, _, password = binascii.a2b_base64(credentials.strip()).partition(b":")
            except binascii.Error:
                return []
            return [secret.decode("latin-1") for secret in (user, password) if secret]
        case b"bearer":
            return [credentials.strip().decode("latin-1")]
        case _:
            return []


def _read(item: bytes, sender: _Sender, keys: _Keys) -> tuple[Head, Record | Invalid, Key | Problem]:
    """A record's names, what it says or why it says nothing, and the key that it is sent with."""
    readable = item
    try:
        try:
            head = read_head(item, sender.endpoint)
        except msgspec.DecodeError:
            readable = mended(item) or item
            head = read_head(readable, sender.endpoint)
        key = keys.of(head.token)
        if isinstance(key, Problem):
            return head, Invalid(Reason.MISSING_FIELD, "", ""), key
        return head, _record(readable, key, sender), key
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _NO_HEAD, Invalid(Reason.INVALID_JSON, "", "must be JSON in UTF-8"), keys.of(None)
    except RecursionError:
        return _NO_HEAD, Invalid(Reason.TOO_DEEP, "", "is nested too deep to be read"), keys.of(None)


def _record(item: bytes, key: Key, sender: _Sender) -> Record | Invalid:
    if len(item) > sender.max_event_bytes:
        return Invalid(Reason.TOO_LARGE, "", f"is larger than {sender.max_event_bytes} bytes")
    if not item.isascii():
        item.decode()
    return read_record(item, sender.endpoint, key.kind, sender.received_at_ms)


def _denied(index: int, head: Head, problem: Problem, sender: _Sender) -> Failure:
    """A record without a key. On `/import` a request must have one; elsewhere a token is one of the record's fields,
    so that its absence is told as that of any other."""
    field = "$token" if sender.endpoint in ("engage", "groups") else "properties.token"
    if problem is Problem.MISSING_KEY and sender.endpoint != "import":
        return Failure(index, head.insert_id, field, "is required")
    return Failure(index, head.insert_id, field, f"is not taken: {problem.message}", problem)


def _sender(endpoint: Endpoint, max_event_bytes: int, request: Request, sent: Sent, now_ms: int) -> _Sender:
    user_agent = request.headers.get(b"user-agent")
    return _Sender(
        endpoint,
        now_ms,
        max_event_bytes,
        ip=None if sent.ip is False else request.ip,
        says_ip=sent.ip is True,
        user_agent=user_agent[:_MAX_USER_AGENT].decode("latin-1") if user_agent else None,
    )


def _published(
    item: bytes, record: Record | Invalid, key: Key, sender: _Sender, new_id: Callable[[], str]
) -> published.Record:
    """One record of `events.raw`. An event of nobody has an anonymous id made of its messageId, so that a retry has
    the same; one of two users needs none."""
    anonymous_id = user_id = insert_id = made_up = None
    if isinstance(record, Record):
        anonymous_id, user_id, insert_id = record.anonymous_id, record.user_id, record.insert_id
    message_id = insert_id or new_id()
    if isinstance(record, Record) and anonymous_id is None and user_id is None and record.name not in OF_TWO_IDS:
        made_up = f"{SYNTHETIC_PREFIX}{message_id}"
    stamp = Stamp(
        project_id=key.project_id,
        message_id=message_id,
        received_at_ms=sender.received_at_ms,
        dialect=Dialect.MIXPANEL,
        call=sender.endpoint,
        key_kind=key.kind,
        ip=sender.ip if key.kind == "public" or sender.says_ip else None,
        user_agent=sender.user_agent,
        anonymous_id=made_up,
    )
    event_key = record_key(stamp.project_id, anonymous_id or made_up, user_id, message_id)
    return event_key, item, stamp.received_at_ms, (stamp_header(stamp),)
