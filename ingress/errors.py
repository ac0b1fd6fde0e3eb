"""Every way in which a request is not taken: its tag, its HTTP status and what its sender is told.

Messages are for the developer at the other end: what is wrong and what to do. They never repeat a key or a value.
"""

from enum import Enum

# A client that was told 503 may send the same again after so many seconds; a messageId makes that safe.
RETRY_AFTER_S = 2


class Problem(Enum):
    """Closed: docs and clients list exactly these. A dialect says them in its own words with `tag` and `message`."""

    def __init__(self, tag: str, status: int, message: str) -> None:
        self.tag = tag
        self.status = status
        self.message = message

    INVALID_HTTP = ("invalid_http", 400, "this is no HTTP/1.1 request that can be read in one way only")
    INVALID_JSON = ("invalid_json", 400, "the body is not valid JSON in UTF-8; send one JSON object")
    NOT_AN_OBJECT = ("not_an_object", 400, "the body is JSON, but not an object; send one JSON object")
    TOO_DEEP = ("too_deep", 400, "the body is nested too deep to be read; flatten it")
    NO_BATCH = ("no_batch", 400, 'a batch needs "batch", an array of events')
    NO_DATA = ("no_data", 400, "no records: send `data` as a field of a form or of the query, or JSON as the body")
    INVALID_DATA = ("invalid_data", 400, "`data` is neither JSON nor base64 of JSON; encode it again")
    EVENT_TOO_LARGE = ("event_too_large", 400, "the event is larger than this server takes; send less in it")
    BATCH_TOO_LARGE = ("batch_too_large", 400, "the batch has more bytes than this server takes; split it")
    TOO_MANY_EVENTS = ("too_many_events", 400, "the batch has more events than this server takes; split it")
    CONTEXT_TOO_LARGE = (
        "context_too_large",
        400,
        "the batch's own context and integrations, which go with each of its events, are too large; "
        "put less there, or split the batch",
    )
    WOULD_BE_REJECTED = (
        "would_be_rejected",
        400,
        "strict mode: nothing was taken, since `errors` would be rejected; mend them and send all of it again",
    )
    INVALID_ENCODING = ("invalid_encoding", 400, "the body is not compressed as it says it is; send it again whole")
    MISSING_KEY = (
        "missing_key",
        401,
        "no write key; send it as the user name of Basic authorization with an empty password, "
        'as a Bearer token, or as "writeKey" in the body',
    )
    MALFORMED_AUTHORIZATION = (
        "malformed_authorization",
        401,
        "the Authorization header cannot be read; send Basic base64(writeKey + ':') or Bearer writeKey",
    )
    INVALID_KEY = (
        "invalid_key",
        401,
        "no such write key, or it was revoked; `whipstitch keys list` shows those that exist",
    )
    INSUFFICIENT_SCOPE = ("insufficient_scope", 403, "this key may not send events; use one with the scope `ingest`")
    ORIGIN_NOT_ALLOWED = (
        "origin_not_allowed",
        403,
        "this key may not be used from this origin; list it with `whipstitch keys create --origin`",
    )
    NOT_FOUND = ("not_found", 404, "there is nothing at this path")
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405, "this path takes other methods; the Allow header lists them")
    BODY_TIMEOUT = ("body_timeout", 408, "the body did not arrive in time; send it again")
    BODY_TOO_LARGE = ("body_too_large", 413, "the body is larger than this server reads; split it")
    UNSUPPORTED_ENCODING = (
        "unsupported_encoding",
        415,
        "this Content-Encoding is not known; send gzip, deflate, br, zstd or none",
    )
    NESTED_ENCODING = ("nested_encoding", 415, "the body is compressed more than once; compress it once")
    RATE_LIMITED = ("rate_limited", 429, "more events than this key may send; send the same again after Retry-After")
    HEAD_TOO_LARGE = ("head_too_large", 431, "the request's line and headers are too large; send less in them")
    INTERNAL_ERROR = ("internal_error", 500, "a fault of this server, which its log describes; send the same again")
    KAFKA_UNAVAILABLE = ("kafka_unavailable", 503, "Kafka cannot take events now; send the same again later")
    KAFKA_SLOW = ("kafka_slow", 503, "Kafka has not confirmed the events in time; send the same again later")
    OVERLOADED = ("overloaded", 503, "too much is waiting to be written already; send the same again later")
