"""`GET /openapi.json`: every path that this ingress serves, from its own tables and their descriptions."""

from collections.abc import Awaitable, Callable, Iterable
from importlib.metadata import version
from typing import Any, Final

from ingress.contract import Answer, json_answer
from ingress.operations import OPERATIONS, At, Operation
from ingress.schemas import SCHEMAS, Schema, ref

OPENAPI: Final[At] = ("GET", "/openapi.json")

_JSON: Final = "application/json"
_TEXT: Final = "text/plain"
_FORM: Final = "application/x-www-form-urlencoded"
# A page's `sendBeacon` cannot say that it sends JSON without being asked for a preflight first.
_BODY_TYPES: Final = (_JSON, _TEXT)
_STATUSES: Final = {
    200: "Taken, and durable",
    202: "Taken, and durable",
    400: "The request is wrong; the same will be refused again",
    401: "No key, or none that exists",
    403: "The key may not be used for this, or from this origin",
    408: "The body did not arrive in time",
    413: "The body is larger than is read",
    415: "The body's encoding is not known",
    429: "More events than the key may send; again after Retry-After",
    431: "The request's line and headers are too large",
    500: "A mistake of this server's",
    503: "Nothing can be taken now; the same again after Retry-After",
}
_WITH_RETRY: Final = (429, 503)
_SECURITY: Final[list[Schema]] = [{"basic": []}, {"bearer": []}, {"body": []}]


def openapi_page(served: Iterable[At]) -> Callable[[], Awaitable[Answer]]:
    """The page, made once. Raises KeyError for a path that nobody has described."""
    answer = json_answer(200, document(served))

    async def page() -> Answer:
        return answer

    return page


def document(served: Iterable[At]) -> dict[str, Any]:
    """OpenAPI 3.1 of the paths that are served. Raises KeyError for one that nobody has described."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path in sorted(served, key=lambda at: (at[1], at[0])):
        operation = OPERATIONS[method, path.rstrip("/")]
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, operation)
    for path, methods in paths.items():
        methods["options"] = _preflight(path)
    return {
        "openapi": "3.1.0",
        "info": {"title": "whipstitch", "version": version("whipstitch"), "description": "Takes customer events."},
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": _security_schemes()},
    }


def _operation(method: str, path: str, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _operation_id(method, path),
        "tags": [*operation.tags],
        "parameters": [*_path_parameters(path), *_query_parameters(operation)],
        "responses": _responses(operation),
        "security": _SECURITY if operation.needs_key else [],
    }
    if operation.bodies or operation.forms:
        described["requestBody"] = {"required": method == "POST", "content": _contents(operation)}
    return described


def _preflight(path: str) -> dict[str, Any]:
    refused = {str(status): _response(status, ("Refusal",), ()) for status in (400, 431, 503)}
    return {
        "summary": "Which methods there are and, to a browser, whether a page of this origin may use them",
        "operationId": _operation_id("OPTIONS", path),
        "tags": ["Server"],
        "parameters": _path_parameters(path),
        "responses": {"204": {"description": "In the headers"}, **refused},
        "security": [],
    }


def _operation_id(method: str, path: str) -> str:
    return f"{method.lower()}{path}".replace("/", "_").replace("{", "").replace("}", "")


def _contents(operation: Operation) -> dict[str, Any]:
    contents = {kind: {"schema": _any_of(operation.bodies)} for kind in _BODY_TYPES if operation.bodies}
    return {**contents, **({_FORM: {"schema": _any_of(operation.forms)}} if operation.forms else {})}


def _responses(operation: Operation) -> dict[str, Any]:
    told = {status: (schema,) for status, schema in operation.answers.items()}
    for status in operation.refused:
        told[status] = (*told.get(status, ()), *operation.refusals)
    return {str(status): _response(status, told[status], operation.texts) for status in sorted(told)}


def _response(status: int, schemas: tuple[str, ...], texts: tuple[str, ...]) -> dict[str, Any]:
    contents = {
        _JSON: tuple(name for name in schemas if name not in texts),
        _TEXT: texts,
    }
    response: dict[str, Any] = {
        "description": _STATUSES[status],
        "content": {kind: {"schema": _any_of(names)} for kind, names in contents.items() if names},
    }
    if status in _WITH_RETRY:
        seconds = {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}
        response["headers"] = {"Retry-After": seconds}
    return response


def _path_parameters(path: str) -> list[Schema]:
    names = [part.partition("}")[0] for part in path.split("{")[1:]]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(operation: Operation) -> list[Schema]:
    return [
        {"name": name, "in": "query", "required": False, "schema": {"type": "string"}, "description": meaning}
        for name, meaning in operation.query.items()
    ]


def _any_of(names: tuple[str, ...]) -> Schema:
    unique = list(dict.fromkeys(names))
    return ref(unique[0]) if len(unique) == 1 else {"anyOf": [ref(name) for name in unique]}


def _security_schemes() -> dict[str, Schema]:
    return {
        "basic": {"type": "http", "scheme": "basic", "description": "the key as user name, with an empty password"},
        "bearer": {"type": "http", "scheme": "bearer", "description": "the key"},
        "body": {
            "type": "apiKey",
            "in": "query",
            "name": "writeKey",
            "description": "where no header can be sent; `writeKey` in the body is the same",
        },
    }
