"""ClickHouse's HTTP interface in front of the engine, as an ASGI application.

Statements arrive in the URL, the body or both; the rows of an insert go to the engine in pieces, as they come. An
answer leaves only when it is whole (it waits on disk), so its status is always true and a slow reader holds up
nobody. Statements that read and statements that write have threads of their own: a slow dashboard cannot stop the
sink. More than MAX_RUNNING requests at once are refused with ClickHouse's code 202 and a 503.

Of the interface are missing: sessions, users and roles, tables sent along, `client_protocol_version` (Native is
sent as to a client that knows none) and the query's own id within the engine: KILL QUERY needs the engine's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from embedded import clickhouse_coding as coding
from embedded import clickhouse_errors as codes
from embedded.clickhouse_body import Body, Gone, Receive
from embedded.clickhouse_reply import Identity, Reply, answered, refused, send_reply, text
from embedded.clickhouse_request import Request, header_map, read_form, read_request, refuse_other_sites
from embedded.clickhouse_sql import InsertHead, first_words, insert_head, parts, writes_file
from embedded.connection import Answer, EngineError
from embedded.engine import Engine

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
T = TypeVar("T")

MAX_RUNNING = 100
_READERS = 6
_WRITERS = 4
_HEAD_BYTES = 256 << 10
_LARGEST_TEXT_BYTES = 32 << 20
_PIECE_BYTES = 1 << 20
_KILL_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to run one statement: `run` blocks, and belongs in a thread."""

    run: Callable[[], Answer]
    reads: bool
    format: str
    encoding: str = ""


class ClickHouseHTTP:
    """The application. `engine` is open; `close` this first, and then the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._identity = Identity(engine.version)
        self._running = 0
        self._readers = ThreadPoolExecutor(_READERS, "read")
        self._writers = ThreadPoolExecutor(_WRITERS, "write")
        self._killer = ThreadPoolExecutor(1, "kill")

    def close(self) -> None:
        """What still runs by now is killed."""
        self._engine.kill_all()
        for threads in (self._readers, self._writers, self._killer):
            threads.shutdown(cancel_futures=True)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        self._running += 1
        try:
            reply = await self._reply(scope, Body(receive))
            await send_reply(reply, scope["method"] == "HEAD", send)
        except Gone:
            pass
        finally:
            self._running -= 1

    async def _reply(self, scope: MutableMapping[str, Any], body: Body) -> Reply:
        try:
            headers = header_map(scope["headers"])
            refuse_other_sites(headers)
            if scope["path"] in ("/ping", "/replicas_status"):
                return text(200, "Ok.\n")
            if scope["path"] != "/":
                return text(404, f"There is no handle {scope['path']}\n\nUse / or /ping for health checks.\n")
            if scope["method"] not in ("GET", "HEAD", "POST"):
                return text(501, f"{scope['method']} is not supported; send GET or POST\n")
            if self._running > MAX_RUNNING:
                raise codes.too_many_queries(MAX_RUNNING)
            return await self._routed(scope, headers, body)
        except EngineError as error:
            return refused(self._identity, error)
        except coding.BadBody as error:
            return refused(self._identity, codes.cannot_decompress(str(error)))

    async def _routed(self, scope: MutableMapping[str, Any], headers: Mapping[str, str], body: Body) -> Reply:
        form = {}
        if headers.get("content-type", "").startswith("multipart/form-data"):
            form = read_form(headers["content-type"], await _whole(body))
        request = read_request(scope["method"], scope["query_string"].decode("latin-1"), headers, form)
        decoders = [coding.decoder(request.body_encoding)] if request.body_encoding else []
        body.decode(*decoders, *([coding.Blocks()] if request.body_in_blocks else []))
        if head := insert_head(request.query):
            rest = request.query[head.data_at :].strip()
            return await self._insert(request, head, rest + b"\n" if rest else b"", body)
        begun = await body.read(_HEAD_BYTES)
        statement = b"\n".join(part for part in (request.query, begun) if part)
        if head := insert_head(statement):
            return await self._insert(request, head, statement[head.data_at :], body)
        if not statement and scope["method"] != "POST":
            return text(200, "Ok.\n")
        return await self._statement(request, statement + await _whole(body), body)

    async def _insert(self, request: Request, head: InsertHead, begun: bytes, body: Body) -> Reply:
        rows = begun + await body.read(_PIECE_BYTES)
        insert = await _in(
            self._writers, self._engine.insert, request.context, head.statement, head.settings, head.format
        )
        try:
            while rows:
                await _in(self._writers, insert.append, rows)
                rows = await body.read(_PIECE_BYTES)
            answer = await _in(self._writers, insert.finish)
        finally:
            await asyncio.shield(_in(self._writers, insert.cancel))
        return answered(self._identity, request, answer, head.format)

    async def _statement(self, request: Request, statement: bytes, body: Body) -> Reply:
        plan = await _in(self._writers, self._plan, request, statement)
        threads = self._readers if plan.reads else self._writers
        job = threads.submit(plan.run)
        answer = await (self._while_there(job, request.context.tag, body) if plan.reads else asyncio.wrap_future(job))
        return answered(self._identity, request, answer, plan.format, plan.encoding)

    def _plan(self, request: Request, statement: bytes) -> _Plan:
        words = first_words(statement)
        if not words:
            raise EngineError(codes.SYNTAX_ERROR, "Syntax error: Empty query", "SYNTAX_ERROR")
        if request.in_session and (words[0] in ("SET", "USE") or words[:2] == ["CREATE", "TEMPORARY"]):
            raise codes.not_implemented("Sessions are not kept: send settings and the database with each request.")
        cut = parts(statement)
        format, encoding = cut.format or request.format, request.answer_encoding
        reads = self._engine.is_read_only(statement)
        if reads and words[0] in ("SELECT", "WITH", "FROM", "("):
            tail = cut.tail or f"FORMAT {format}".encode()
            run = partial(self._engine.read, request.context, cut.body, tail, encoding or "none")
            return _Plan(run, reads, format, encoding)
        if writes_file(statement):
            raise codes.outfile_not_allowed()
        whole = self._engine.run if reads else self._engine.change
        return _Plan(partial(whole, request.context, statement, format), reads, format)

    async def _while_there(self, job: Future[Answer], tag: str, body: Body) -> Answer:
        """The job's answer; where the client leaves before it is there, the statement is killed."""
        answer, gone = asyncio.wrap_future(job), asyncio.ensure_future(body.gone())
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise Gone
        finally:
            gone.cancel()
            answer.cancel()  # where it still waits for a thread, this takes it out of the queue
            if not job.done():
                await asyncio.shield(self._end(job, tag))

    async def _end(self, job: Future[Answer], tag: str) -> None:
        """Repeats itself, because a statement that has only just begun cannot be killed yet."""
        while not job.done():
            await _in(self._killer, self._engine.kill, tag)
            await asyncio.sleep(_KILL_AGAIN_S)


async def _whole(body: Body) -> bytes:
    rest = await body.read(_LARGEST_TEXT_BYTES)
    if len(rest) >= _LARGEST_TEXT_BYTES:
        raise codes.query_too_large(_LARGEST_TEXT_BYTES)
    return rest


def _in(threads: Executor, call: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
    return asyncio.get_running_loop().run_in_executor(threads, call, *arguments)
