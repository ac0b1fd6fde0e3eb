"""What each path is for, what it takes and what it answers: the table that `GET /openapi.json` is made of.

A path that an ingress serves and that is not described here fails a test.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ingress.errors import Problem

At = tuple[str, str]

# Told by the protocol itself, before there is a path.
_ANYWHERE: Final = frozenset({Problem.INVALID_HTTP.status, Problem.HEAD_TOO_LARGE.status})
_OF_NO_PATH: Final = frozenset({Problem.NOT_FOUND.status, Problem.METHOD_NOT_ALLOWED.status})
_TAKING: Final = frozenset(problem.status for problem in Problem) - _OF_NO_PATH
_ASKING: Final = _TAKING - {Problem.RATE_LIMITED.status}


@dataclass(frozen=True, slots=True)
class Operation:
    """`answers` are schemas by status; `refusals` those of every status in `refused`, of which any may come; `texts`
    those of what may come as plain text, with any status."""

    summary: str
    tags: tuple[str, ...]
    answers: Mapping[int, str]
    refusals: tuple[str, ...] = ("Refusal",)
    refused: frozenset[int] = _ANYWHERE
    bodies: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)
    needs_key: bool = True


_SEGMENT: Final = ("Segment family",)
_SHARED: Final = ("Segment family", "Millimetric")
_SERVER: Final = ("Server",)
_BOTH_REFUSALS: Final = ("Refusal", "MillimetricRefusal")
_OK: Final = {200: "Success"}
_CALLS: Final = ("identify", "track", "page", "screen", "group", "alias")


def _call(name: str, short: bool) -> Operation:
    summary = f"One `{name}` call" + (", as analytics.js sends it" if short else "")
    return Operation(summary, _SEGMENT, _OK, refused=_TAKING, bodies=("Call",))


def _batch(summary: str, query: Mapping[str, str] | None = None) -> Operation:
    return Operation(summary, _SEGMENT, _OK, refused=_TAKING, bodies=("Batch",), query=query or {})


def _page(summary: str, answers: Mapping[int, str], texts: tuple[str, ...] = ()) -> Operation:
    return Operation(summary, _SERVER, answers, texts=texts, needs_key=False)


_SHARED_PATHS: Final[dict[At, Operation]] = {
    ("POST", "/v1/identify"): Operation(
        "One identify, of the Segment family or of Millimetric; the credentials tell which",
        _SHARED,
        {200: "IdentifyTaken"},
        _BOTH_REFUSALS,
        _TAKING | {500},
        ("Call", "MillimetricIdentify"),
    ),
    ("POST", "/v1/track"): Operation(
        "One event, of the Segment family (200) or of Millimetric (202)",
        _SHARED,
        {**_OK, 202: "MillimetricEvent"},
        _BOTH_REFUSALS,
        _TAKING | {500},
        ("Call", "MillimetricTrack"),
    ),
    ("POST", "/v1/batch"): Operation(
        "Many events, of the Segment family (200; each has its own outcome) or of Millimetric (202; all or nothing)",
        _SHARED,
        {**_OK, 202: "MillimetricCount"},
        _BOTH_REFUSALS,
        _TAKING | {500},
        ("Batch", "MillimetricBatch"),
    ),
}

_SEGMENT_PATHS: Final[dict[At, Operation]] = {
    **{("POST", f"/v1/{call}"): _call(call, short=False) for call in _CALLS},
    **{("POST", f"/v1/{call[0]}"): _call(call, short=True) for call in _CALLS},
    ("POST", "/v1/import"): _batch("The same as `/v1/batch`, for history"),
    ("POST", "/v1/b"): _batch("The same as `/v1/batch`, as analytics.js sends it"),
    ("POST", "/beacon/v1/batch"): _batch(
        "The same as `/v1/batch`, as RudderStack's browser client sends what is left when a page closes",
        {"writeKey": "the key, as `sendBeacon` can send no header"},
    ),
    ("POST", "/v1/m"): Operation(
        "What analytics.js reports of itself; it is not kept", _SEGMENT, _OK, refused=_ASKING, needs_key=False
    ),
    ("GET", "/v1/projects/{writeKey}/settings"): Operation(
        "What analytics.js, Segment's build and Customer.io's, asks before it sends",
        _SEGMENT,
        {200: "Settings"},
        refused=_ASKING,
        needs_key=False,
    ),
    ("GET", "/sourceConfig"): Operation(
        "What RudderStack's browser client asks before it sends",
        _SEGMENT,
        {200: "SourceConfig"},
        refused=_ASKING,
        query={"writeKey": "the key, unless it is in the Authorization header"},
    ),
}

_MIXPANEL_QUERY: Final = {
    "data": "the records, JSON or base64 of it, where they are not in the body",
    "verbose": "1: answer in JSON, with the error",
    "strict": "1: 400 where a record does not hold, and name each that does not",
    "ip": "1: keep the client's address",
}
_MIXPANEL_MEANINGS: Final = {
    "track": "Mixpanel's events; `1` where all hold, else `0`",
    "engage": "Mixpanel's updates of a person; `1` where all hold, else `0`",
    "groups": "Mixpanel's updates of a group; `1` where all hold, else `0`",
    "import": "Mixpanel's events of history, as a JSON array or a line each; says how many were taken",
}


def _mixpanel(endpoint: str, method: str) -> Operation:
    return Operation(
        _MIXPANEL_MEANINGS[endpoint] + (", sent in the query" if method == "GET" else ""),
        ("Mixpanel",),
        {200: "MixpanelAnswer"},
        ("MixpanelAnswer",),
        _TAKING | {500},
        ("MixpanelRecords",) if method == "POST" else (),
        ("MixpanelForm",) if method == "POST" else (),
        ("MixpanelText",),
        _MIXPANEL_QUERY,
    )


_MIXPANEL_PATHS: Final[dict[At, Operation]] = {
    (method, f"/{endpoint}"): _mixpanel(endpoint, method)
    for endpoint in _MIXPANEL_MEANINGS
    for method in ("GET", "POST")
}

_SERVER_PATHS: Final[dict[At, Operation]] = {
    ("GET", "/health/live"): _page("The process answers", {200: "Status"}),
    ("GET", "/health/ready"): _page(
        "Events sent now would be taken; 503 and why while they would not", {200: "Status", 503: "Status"}
    ),
    ("GET", "/metrics"): _page("What this ingress has done, for Prometheus", {200: "Metrics"}, texts=("Metrics",)),
    ("GET", "/openapi.json"): _page("This description", {200: "OpenApi"}),
}

OPERATIONS: Final[Mapping[At, Operation]] = {
    **_SEGMENT_PATHS,
    **_SHARED_PATHS,
    **_MIXPANEL_PATHS,
    **_SERVER_PATHS,
}
