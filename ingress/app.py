"""The ASGI application: finds the route, reads the body, asks the dialect, publishes, answers.

Guarantee: a 2xx to an event is sent only after Kafka has acknowledged it.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ingress import cors
from ingress.auth import named_key
from ingress.body import BodyReader, ClientGone
from ingress.contract import Accepted, Answer, Request, Route, Routes, json_answer, refusal
from ingress.errors import Problem
from ingress.paths import Paths
from ingress.publisher import Publisher
from ingress.rate_limit import RateLimiter
from pipeline.directory import Directory
from topics.control import Key

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Page = Callable[[], Awaitable[Answer]]
Pages = Mapping[tuple[str, str], Page]

_OTHER_PATHS = "other"
_NO_ORIGINS: frozenset[str] = frozenset()


class DirectoryView(Protocol):
    """Where the newest directory is found."""

    @property
    def directory(self) -> Directory: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """What an ingress needs in order to take events; there is none until Kafka has been reached."""

    publisher: Publisher
    view: DirectoryView


@dataclass(slots=True)
class Counts:
    """What was answered, by path and status (the path as it is in the tables, so there are only so many), and how many
    events Kafka has confirmed."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    events: int = 0


class App:
    """`routes` take events, `pages` are everything else, both by method and path."""

    def __init__(self, routes: Routes, pages: Pages, bodies: BodyReader, counts: Counts) -> None:
        self._counts = counts
        self.backend: Backend | None = None
        self._routes = routes
        self._pages = pages
        self._bodies = bodies
        self._paths = Paths(routes, pages)
        self._limiter = RateLimiter()
        self._origins = cors.Origins()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        at = (scope["method"], scope["path"])
        try:
            route = self._routes.get(at)
            if route is None:
                answer = await self._elsewhere(at, scope, receive)
            else:
                answer = await self._take(route, scope, receive)
        except ClientGone:
            return
        except Exception:
            answer = _internal_error(self._routes.get(at), dict(scope["headers"]))
            await send(answer.start)
            await send(answer.end)
            raise
        self._counts.answers[self._counted_path(at), answer.status] += 1
        await send(answer.start)
        await send(answer.end)

    async def _take(self, route: Route, scope: Scope, receive: Receive) -> Answer:
        headers = dict(scope["headers"])
        choose = route.choose
        if choose is not None:
            route = choose(headers, b"")
        body = await self._bodies.read(receive, headers, route.max_body_bytes)
        if choose is not None and isinstance(body, bytes):
            route = choose(headers, body)
        backend = self.backend
        key = None
        if isinstance(body, Problem):
            answer = route.refuse(body)
        elif backend is None:
            return route.refuse(Problem.KAFKA_UNAVAILABLE)
        else:
            client = scope["client"]
            request = Request(headers, body, scope["query_string"], client[0] if client else None, scope["path"])
            now_ms = time.time_ns() // 1_000_000
            outcome = route.handle(request, backend.view.directory, now_ms)
            answer = outcome.answer
            if isinstance(outcome, Accepted):
                key = outcome.key
                answer = await self._settle(route, outcome, backend.publisher, now_ms)
        origin = headers.get(b"origin")
        if origin is None or backend is None:
            return answer
        readers = self._readers(answer, key, backend.view.directory)
        return cors.readable(answer, origin, readers, with_credentials=route.with_credentials)

    async def _settle(self, route: Route, outcome: Accepted, publisher: Publisher, now_ms: int) -> Answer:
        if not outcome.records:
            return outcome.answer
        key = outcome.key
        if key is not None and key.rate_limit_per_s is not None:
            wait_s = self._limiter.wait_s(key, len(outcome.records), now_ms)
            if wait_s:
                return _rate_limited(route, wait_s)
        problem = await publisher.publish(outcome.records)
        if problem is not None:
            return route.refuse(problem)
        self._counts.events += len(outcome.records)
        return outcome.answer

    def _counted_path(self, at: tuple[str, str]) -> str:
        known = at in self._routes or at in self._pages
        return at[1] if known else self._paths.pattern_of(at[1]) or _OTHER_PATHS

    def _readers(self, answer: Answer, key: Key | None, directory: Directory) -> frozenset[str]:
        return _NO_ORIGINS if answer.status == 403 else self._origins.allowed_by(key, directory)

    async def _elsewhere(self, at: tuple[str, str], scope: Scope, receive: Receive) -> Answer:
        method, path = at
        if (page := self._pages.get(at)) is not None:
            return await page()
        pattern = self._paths.pattern_of(path)
        if pattern is None:
            return refusal(Problem.NOT_FOUND)
        if (route := self._routes.get((method, pattern))) is not None:
            return await self._take(route, scope, receive)
        methods = self._paths.methods_of(pattern)
        return self._preflight(scope, methods) if method == "OPTIONS" else _method_not_allowed(methods)

    def _preflight(self, scope: Scope, methods: bytes) -> Answer:
        """The key is not known here, but where the path or the query names it."""
        if self.backend is None:
            return refusal(Problem.KAFKA_UNAVAILABLE)
        directory = self.backend.view.directory
        origin = dict(scope["headers"]).get(b"origin", b"")
        key = named_key(scope["path"], scope["query_string"], directory)
        return cors.preflight(origin, self._origins.allowed_by(key, directory), methods)


def _internal_error(route: Route | None, headers: dict[bytes, bytes]) -> Answer:
    """Says that the fault is ours; the exception itself goes on to the log."""
    if route is not None and route.choose is not None:
        route = route.choose(headers, b"")
    return (route.refuse if route is not None else refusal)(Problem.INTERNAL_ERROR)


def _rate_limited(route: Route, wait_s: int) -> Answer:
    """X-RateLimit-Reset says the same to analytics.js, which does not look at Retry-After."""
    answer, seconds = route.refuse(Problem.RATE_LIMITED), b"%d" % wait_s
    told = ((b"retry-after", seconds), (b"x-ratelimit-reset", seconds))
    return Answer(answer.status, answer.body, (*answer.headers, *told))


def _method_not_allowed(methods: bytes) -> Answer:
    problem = Problem.METHOD_NOT_ALLOWED
    payload = {"success": False, "code": problem.tag, "message": problem.message}
    return json_answer(problem.status, payload, ((b"allow", methods),))
