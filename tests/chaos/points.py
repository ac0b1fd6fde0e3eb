"""A part of the product that kills itself at a named point.

    python -m tests.chaos.points POINT NTH COMMAND…

runs `whipstitch COMMAND…`, and ends that process with SIGKILL when it is at the point for the NTH time. The points are
wrapped around public functions from outside.
"""

import importlib
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from topics.names import CHANGES, IDENTITY_CHANGELOG, LINKS, MERGES, PERSONS, RAW, REJECTED, STITCHED
from topics.records import Output

Where = Literal["before", "half", "after"]
SendAll = Callable[..., Awaitable[list[int]]]


@dataclass(frozen=True, slots=True)
class Point:
    """`where` is about what `DurableProducer.send_all` sends to `topic`, what is in front of it being out already, or
    about a call of the function `of`, if it is given."""

    part: Literal["worker", "ingress"]
    says: str
    where: Where
    topic: str = ""
    of: tuple[str, str, str] | None = None
    most_calls: int = 12


POINTS = {
    "links-half": Point("worker", "half of a batch's links are out", "half", LINKS),
    "edges-half": Point("worker", "half of a batch's edges are out", "half", MERGES, most_calls=3),
    "edges-out": Point("worker", "links and edges are out, owners are not", "after", MERGES),
    "changelog-half": Point("worker", "half of a batch's owners are in the changelog", "half", IDENTITY_CHANGELOG),
    "rejected-half": Point("worker", "half of a batch's dead letters are out", "half", REJECTED, most_calls=3),
    "facts-out": Point("worker", "facts are out, events are not", "before", STITCHED),
    "events-half": Point("worker", "half of a batch's events are out", "half", STITCHED),
    "events-out": Point("worker", "events are out, state does not know", "after", STITCHED),
    "before-done": Point(
        "worker", "state knows, offset is not acknowledged", "before", of=("pipeline.watermark", "Watermark", "done")
    ),
    "inserted": Point("worker", "inserted, not acknowledged", "after", of=("store.http", "HttpStore", "insert")),
    "before-commit": Point(
        "worker", "acknowledged, not committed", "before", of=("agents.transport", "BatchConsumer", "commit")
    ),
    "catching-up": Point(
        "worker", "state is being read from the log", "half", of=("broker.log", "LogReader", "read"), most_calls=3
    ),
    "changes-out": Point("worker", "changes of persons are told, steps are not", "after", CHANGES, most_calls=4),
    "steps-half": Point("worker", "half of the steps of persons are out", "half", PERSONS, most_calls=3),
    "steps-out": Point("worker", "steps of persons are out, state does not know", "after", PERSONS, most_calls=4),
    "raw-half": Point("ingress", "half of a request's events are out", "half", RAW),
    "raw-out": Point("ingress", "a request's events are out, it is not answered", "after", RAW),
}


class _Trigger:
    def __init__(self, nth: int) -> None:
        self._nth = nth
        self._calls = itertools.count(1)

    def is_due(self) -> bool:
        """Counts a call."""
        return next(self._calls) == self._nth

    def __call__(self) -> None:
        if self.is_due():
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: Point, nth: int) -> None:
    """Wrap what the point is about. Raises AttributeError where it is no longer there."""
    trigger = _Trigger(nth)
    if point.of is None:
        _wrap("broker.producer", "DurableProducer", "send_all", lambda send: _sending(send, point, trigger))
    elif point.of == ("broker.log", "LogReader", "read"):
        _wrap(*point.of, lambda read: _reading(read, trigger))
    elif point.of == ("agents.transport", "BatchConsumer", "commit"):
        _wrap(*point.of, lambda commit: _coroutine(commit, trigger))
    else:
        _wrap(*point.of, lambda call: _calling(call, point.where, trigger))


def _wrap(module: str, owner: str, name: str, wrapped: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    where = getattr(importlib.import_module(module), owner)
    setattr(where, name, wrapped(getattr(where, name)))


def _sending(send_all: SendAll, point: Point, trigger: _Trigger) -> SendAll:
    async def wrapped(producer: Any, outputs: Sequence[Output]) -> list[int]:
        for at, (topic, partition, records) in enumerate(outputs):
            if topic == point.topic and (point.where != "half" or len(records) > 1) and trigger.is_due():
                out = {"before": [], "half": records[: len(records) // 2], "after": records}[point.where]
                sent = [*outputs[:at], *([(topic, partition, out)] if out else [])]
                if sent:
                    await send_all(producer, sent)
                die()
        return await send_all(producer, outputs)

    return wrapped


def _reading(read: Callable[..., AsyncIterator[Any]], trigger: _Trigger) -> Callable[..., AsyncIterator[Any]]:
    async def wrapped(*given: Any) -> AsyncIterator[Any]:
        async for batch in read(*given):
            trigger()
            yield batch

    return wrapped


def _coroutine(call: Callable[..., Awaitable[Any]], trigger: _Trigger) -> Callable[..., Awaitable[Any]]:
    async def wrapped(*given: Any, **named: Any) -> Any:
        trigger()
        return await call(*given, **named)

    return wrapped


def _calling(call: Callable[..., Any], where: Where, trigger: _Trigger) -> Callable[..., Any]:
    def wrapped(*given: Any, **named: Any) -> Any:
        if where == "before":
            trigger()
        result = call(*given, **named)
        if where == "after":
            trigger()
        return result

    return wrapped


def main() -> None:
    name, nth, *command = sys.argv[1:]
    arm(POINTS[name], int(nth))
    from cli.main import main as whipstitch

    whipstitch(command)


if __name__ == "__main__":
    main()
