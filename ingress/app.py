"""The ASGI application: finds the route, reads the body, asks the dialect, publishes, answers.

Guarantee: a 2xx to an event is sent only after Kafka has acknowledged it.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ingress.body import BodyReader, ClientGone
from ingress.contract import Accepted, Answer, Request, Route, Routes, json_answer, refusal
from ingress.errors import Problem
from ingress.publisher import Publisher
from pipeline.directory import Directory

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Page = Callable[[], Awaitable[Answer]]


class DirectoryView(Protocol):
    """Where the newest directory is found."""

    @property
    def directory(self) -> Directory: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """What an ingress needs in order to take events; there is none until Kafka has been reached."""

    publisher: Publisher
    view: DirectoryView


class App:
    """`routes` take events, `pages` are everything else, both by method and path."""

    def __init__(self, routes: Routes, pages: Mapping[tuple[str, str], Page], bodies: BodyReader) -> None:
        self.backend: Backend | None = None
        self._routes = routes
        self._pages = pages
        self._bodies = bodies
        self._refusals = {problem: refusal(problem) for problem in Problem}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        at = (scope["method"], scope["path"])
        try:
            if (route := self._routes.get(at)) is not None:
                answer = await self._take(route, scope, receive)
            elif (page := self._pages.get(at)) is not None:
                answer = await page()
            else:
                answer = self._nothing_here(scope["path"])
        except ClientGone:
            return
        await send(answer.start)
        await send(answer.end)

    async def _take(self, route: Route, scope: Scope, receive: Receive) -> Answer:
        headers = dict(scope["headers"])
        body = await self._bodies.read(receive, headers)
        if isinstance(body, Problem):
            return route.refuse(body)
        backend = self.backend
        if backend is None:
            return route.refuse(Problem.KAFKA_UNAVAILABLE)
        client = scope["client"]
        request = Request(headers, body, scope["query_string"], client[0] if client else None)
        outcome = route.handle(request, backend.view.directory, time.time_ns() // 1_000_000)
        if not isinstance(outcome, Accepted):
            return outcome.answer
        problem = await backend.publisher.publish(outcome.records)
        return outcome.answer if problem is None else route.refuse(problem)

    def _nothing_here(self, path: str) -> Answer:
        methods = sorted({method for method, known in (*self._routes, *self._pages) if known == path})
        if not methods:
            return self._refusals[Problem.NOT_FOUND]
        problem = Problem.METHOD_NOT_ALLOWED
        payload = {"success": False, "code": problem.tag, "message": problem.message}
        return json_answer(problem.status, payload, ((b"allow", ", ".join(methods).encode()),))
