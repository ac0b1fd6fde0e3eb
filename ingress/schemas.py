"""The JSON schemas that `GET /openapi.json` names: what bodies and answers look like.

Of a body they say what clients send; only what is told at once is required. What else an event needs is decided
behind the topic, so that a wrong event in a good request becomes a dead letter, or 400 in strict mode.
"""

from typing import Any, Final

from ingress.errors import Problem
from topics.rejected import Reason

Schema = dict[str, Any]

_ID: Final[Schema] = {"type": ["string", "integer", "null"]}
_INSTANT: Final[Schema] = {"type": ["string", "number", "null"], "description": "ISO 8601, or Unix time"}
_FREE: Final[Schema] = {"type": ["object", "null"]}
_FLAG: Final[Schema] = {"type": "boolean"}
_TEXT: Final[Schema] = {"type": "string"}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, **({"required": [*required]} if required else {})}


_CALL: Final = _object(
    type={"type": "string", "description": "the call, in a batch; elsewhere the path says it"},
    messageId={**_ID, "description": "at most 100 characters; assigned when missing. A repeat is stored once"},
    userId=_ID,
    anonymousId=_ID,
    event={"type": "string", "description": "needed by track"},
    name=_TEXT,
    groupId={**_ID, "description": "needed by group"},
    previousId={**_ID, "description": "needed by alias, with userId"},
    properties=_FREE,
    traits=_FREE,
    context=_FREE,
    integrations=_FREE,
    timestamp=_INSTANT,
    originalTimestamp=_INSTANT,
    sentAt=_INSTANT,
    writeKey={"type": ["string", "null"], "description": "the key, where no header has it"},
)

_MILLIMETRIC: Final[dict[str, Schema]] = {
    "event": {"type": "string", "minLength": 1, "maxLength": 128},
    "event_id": _TEXT,
    "timestamp": _INSTANT,
    "anonymous_id": {"type": "string", "maxLength": 128},
    "user_id": {"type": "string", "maxLength": 256},
    "session_id": {"type": "string", "maxLength": 128},
    "url": {"type": "string", "maxLength": 2048},
    "path": {"type": "string", "maxLength": 2048},
    "referrer": {"type": "string", "maxLength": 2048},
    "properties": {"type": "object", "description": "at most 8 KB"},
}

SCHEMAS: Final[dict[str, Schema]] = {
    "Call": _CALL,
    "Batch": _object(
        ("batch",),
        batch={"type": "array", "items": ref("Call")},
        context=_FREE,
        integrations=_FREE,
        sentAt=_INSTANT,
        writeKey={"type": ["string", "null"]},
    ),
    "Success": _object(("success",), success={"const": True}),
    "Refusal": _object(
        ("success", "code", "message"),
        success={"const": False},
        code={"enum": [problem.tag for problem in Problem]},
        message={"type": "string", "description": "what is wrong and what to do, for a developer"},
        errors={"type": "array", "items": ref("StrictError"), "description": "in strict mode"},
    ),
    "StrictError": _object(
        ("index", "reason", "detail"),
        index={"type": "integer", "minimum": 0, "description": "place in the batch"},
        reason={"enum": [reason.value for reason in Reason]},
        detail=_TEXT,
    ),
    "MillimetricIdentify": _object(
        ("anonymous_id", "user_id"),
        anonymous_id={"type": "string", "minLength": 1, "maxLength": 128},
        user_id={"type": "string", "minLength": 1, "maxLength": 256},
        traits={"type": "object"},
    ),
    "MillimetricTrack": _object(("event",), **_MILLIMETRIC),
    "MillimetricBatch": _object(
        ("events",), events={"type": "array", "maxItems": 1000, "items": ref("MillimetricTrack")}
    ),
    "MillimetricOk": _object(("ok",), ok={"const": True}),
    "MillimetricEvent": _object(("ok", "event_id"), ok={"const": True}, event_id=_TEXT),
    "MillimetricCount": _object(("ok", "count"), ok={"const": True}, count={"type": "integer", "minimum": 0}),
    "MillimetricRefusal": _object(("error", "details"), error=_TEXT, details={}),
    "IdentifyTaken": {"anyOf": [ref("Success"), ref("MillimetricOk")]},
    "MixpanelRecord": _object(event=_TEXT, properties=_object(token=_TEXT, distinct_id=_ID, time=_INSTANT)),
    "MixpanelRecords": {"anyOf": [ref("MixpanelRecord"), {"type": "array", "items": ref("MixpanelRecord")}]},
    "MixpanelForm": _object(
        data={"type": "string", "description": "one record or a list, JSON or base64 of it"},
        verbose=_TEXT,
        strict=_TEXT,
        ip=_TEXT,
    ),
    "MixpanelText": {"enum": ["1", "0", 1, 0], "description": "1: taken; 0: one or more were not"},
    "MixpanelAnswer": _object(
        status={"type": ["integer", "string"]},
        error={"type": ["string", "null"]},
        code={"type": "integer"},
        num_records_imported={"type": "integer", "minimum": 0},
        failed_records={"type": "array", "items": {"type": "object"}},
    ),
    "Settings": _object(("integrations",), integrations={"type": "object", "additionalProperties": ref("Destination")}),
    "Destination": _object(
        ("apiKey", "apiHost", "protocol"), apiKey=_TEXT, apiHost=_TEXT, protocol={"enum": ["http", "https"]}
    ),
    "SourceConfig": _object(
        ("source",),
        source=_object(
            ("id", "name", "writeKey", "enabled", "workspaceId", "destinations", "config"),
            id=_TEXT,
            name=_TEXT,
            writeKey=_TEXT,
            enabled=_FLAG,
            workspaceId=_TEXT,
            destinations={"type": "array"},
            config={"type": "object"},
        ),
    ),
    "Status": _object(("status",), status=_TEXT, reason=_TEXT),
    "Metrics": _TEXT,
    "OpenApi": _object(("openapi", "paths"), openapi=_TEXT, paths={"type": "object"}),
}
