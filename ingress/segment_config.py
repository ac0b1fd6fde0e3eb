"""What the browser clients of the Segment family ask before they send: where to, and with which key.

`GET /v1/projects/{writeKey}/settings` is for analytics.js, Segment's build and Customer.io's; `GET /sourceConfig/` is
for RudderStack's. The fields are those that the clients read; there is nothing to load and no metrics to report.
"""

import re

from ingress.auth import ingest_key_from, offered_secret, query_secret
from ingress.contract import Accepted, Answer, Headers, Refused, Request, Route, Routes, json_answer, refusal
from ingress.errors import Problem
from ingress.paths import named_segment
from pipeline.directory import Directory

SETTINGS_PATH = "/v1/projects/{writeKey}/settings"
SOURCE_CONFIG_PATH = "/sourceConfig"

_HOST = re.compile(rb"[A-Za-z0-9.\-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
# It depends on the host that was asked, and a key's origins may change.
_UNCACHED: Headers = ((b"cache-control", b"no-cache"), (b"vary", b"Host, X-Forwarded-Proto"))


def routes() -> Routes:
    found = {SETTINGS_PATH: Route(_settings, refusal), SOURCE_CONFIG_PATH: Route(_source_config, refusal)}
    return {("GET", path + slash): route for path, route in found.items() for slash in ("", "/")}


def _settings(request: Request, directory: Directory, _now_ms: int) -> Accepted | Refused:
    secret = named_segment(request.path.removesuffix("/"), SETTINGS_PATH)
    return _answered(secret, request, directory, _analytics_js(secret, *_address(request.headers)))


def _source_config(request: Request, directory: Directory, _now_ms: int) -> Accepted | Refused:
    offered = offered_secret(request.headers)
    if isinstance(offered, Problem):
        return Refused(refusal(offered))
    secret = query_secret(request.query) or offered or ""
    key = directory.key_for(secret)
    return _answered(secret, request, directory, _rudderstack(secret, "" if key is None else key.project_id))


def _answered(secret: str, request: Request, directory: Directory, answer: Answer) -> Accepted | Refused:
    key = ingest_key_from(secret, request.headers.get(b"origin"), directory)
    return Refused(refusal(key)) if isinstance(key, Problem) else Accepted((), answer, key)


def _analytics_js(secret: str, protocol: str, host: str) -> Answer:
    destination = {"apiKey": secret, "apiHost": f"{host}/v1", "protocol": protocol, "unbundledIntegrations": []}
    settings = {
        "integrations": {"Segment.io": destination, "Customer.io Data Pipelines": destination},
        "plan": {
            "track": {"__default": {"enabled": True, "integrations": {}}},
            "identify": {"__default": {"enabled": True}},
            "group": {"__default": {"enabled": True}},
        },
        "edgeFunction": {},
        "analyticsNextEnabled": True,
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
    }
    return json_answer(200, settings, _UNCACHED)


def _rudderstack(secret: str, project_id: str) -> Answer:
    source = {
        "id": project_id,
        "name": project_id,
        "writeKey": secret,
        "enabled": True,
        "workspaceId": project_id,
        "destinations": [],
        "config": {"statsCollection": {"errors": {"enabled": False}, "metrics": {"enabled": False}}},
    }
    return json_answer(200, {"source": source}, _UNCACHED)


def _address(headers: dict[bytes, bytes]) -> tuple[str, str]:
    """The protocol and the host under which the client has reached us, perhaps through a proxy that ends TLS."""
    said = headers.get(b"host", b"")
    host = said.decode() if _HOST.fullmatch(said) else "localhost"
    return "https" if headers.get(b"x-forwarded-proto", b"").strip().lower() == b"https" else "http", host
