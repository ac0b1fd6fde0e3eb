"""One request on ClickHouse's HTTP interface, read: URL, headers and form in, `Request` out. No I/O.

Every URL parameter that is not one of the interface's own names is a setting for this statement only. User names
and passwords are accepted and mean nothing: who reaches the loopback address is let in, except a page in a browser
that belongs to another site.
"""

import email
import email.policy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from embedded.clickhouse_coding import BadBody, best_encoding
from embedded.clickhouse_errors import access_denied, not_implemented
from embedded.connection import DEFAULT_DATABASE, Context

_DEFAULT_FORMAT = "TabSeparated"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

# Names that are parameters of the interface, or of a server that has users and a network, rather than settings.
_RESERVED = frozenset(
    (
        *("query", "query_id", "database", "default_format", "user", "password", "role", "quota_key", "stacktrace"),
        *("session_id", "session_timeout", "session_check", "close_session", "client_protocol_version"),
        *("compress", "decompress", "enable_http_compression", "buffer_size", "wait_end_of_query"),
    )
)


@dataclass(frozen=True, slots=True)
class Request:
    """`query` is the URL's (or form's) part of the text: the body continues it, or is data."""

    query: bytes
    query_id: str
    context: Context
    format: str
    body_encoding: str
    body_in_blocks: bool
    answer_encoding: str
    answer_in_blocks: bool
    in_session: bool


def read_request(method: str, target: str, headers: Mapping[str, str], form: Mapping[str, str]) -> Request:
    """`target` is the URL's query string, `headers` have lower-case names, `form` is that of `read_form`.

    Raises EngineError for what ClickHouse would not accept either.
    """
    given = {**dict(parse_qsl(target, keep_blank_values=True)), **form}
    query_id = given.get("query_id") or str(uuid4())
    return Request(
        query=given.get("query", "").encode(),
        query_id=query_id,
        context=_context(given, headers, is_read_only=method != "POST"),
        format=given.get("default_format") or headers.get("x-clickhouse-format") or _DEFAULT_FORMAT,
        body_encoding="" if form else headers.get("content-encoding", "").lower().replace("identity", ""),
        body_in_blocks=_is_on(given, "decompress"),
        answer_encoding=(
            best_encoding(headers.get("accept-encoding", "")) if _is_on(given, "enable_http_compression") else ""
        ),
        answer_in_blocks=_is_on(given, "compress"),
        in_session="session_id" in given,
    )


def read_form(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a multipart body: `query` and `param_…`. Raises EngineError for tables sent along."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    fields = {}
    for part in message.iter_parts():
        if part.get_filename():
            raise not_implemented("The embedded store does not take external tables.")
        content = part.get_payload(decode=True)
        name = part.get_param("name", header="content-disposition")
        if not isinstance(content, bytes) or not isinstance(name, str):
            raise BadBody("a field of the form has no name")
        fields[name] = content.decode(errors="replace")
    return fields


def refuse_other_sites(headers: Mapping[str, str]) -> None:
    """Raises EngineError where a browser sends this for a page of another site, or a name was bent to this address."""
    for url in (f"//{headers.get('host', 'localhost')}", headers.get("origin", "//localhost")):
        if urlsplit(url).hostname not in _LOOPBACK:
            raise access_denied(f"{url} may not use the embedded store; call it by 127.0.0.1.")


def _context(given: Mapping[str, str], headers: Mapping[str, str], is_read_only: bool) -> Context:
    settings = {name: value for name, value in given.items() if not name.startswith("param_") and name not in _RESERVED}
    if is_read_only:
        settings["readonly"] = "2"
    return Context(
        tag=str(uuid4()),
        database=given.get("database") or headers.get("x-clickhouse-database") or DEFAULT_DATABASE,
        settings=settings,
        parameters={name.removeprefix("param_"): value for name, value in given.items() if name.startswith("param_")},
    )


def _is_on(given: Mapping[str, str], name: str) -> bool:
    return given.get(name, "0") not in ("0", "", "false")


def header_map(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
