"""Ends a worker that is stuck: Kafka's consumers, and Faust's streams, can stop without an error.

Whatever supervises the worker starts it again, and it goes on from the last committed offsets. Waiting for Kafka or
for the store is not being stuck: whoever waits says so with each attempt.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from faust.types import TP

from agents.failure import die
from agents.retry import Pulse
from agents.transport import BatchApp
from broker.errors import BrokerUnavailable
from broker.log import LogReader
from pipeline.watchdog import Watchdog

_LOOK_EVERY_S = 5.0


class Stuck(Exception):
    """Records lie there, and nothing happens."""


def watch(app: BatchApp, log: LogReader, pulse: Pulse, patience_s: float) -> None:
    """End the process when the app is stuck for `patience_s`. `log` is asked for the ends of partitions only."""

    @app.task
    async def look(app: BatchApp) -> None:
        watchdog = Watchdog(patience_s)
        while not app.should_stop:
            await asyncio.sleep(_LOOK_EVERY_S)
            committed = _committed(app.consumer)
            try:
                lag = await _lag(log, committed)
            except BrokerUnavailable:
                pulse.beat()
                continue
            if watchdog.is_stuck(time.monotonic(), sum(lag.values()), sum(committed.values()), pulse.beats):
                die("watchdog", Stuck(f"nothing was done for {patience_s:g} s, and this is left: {_told(lag)}"))


def _committed(consumer: Any) -> dict[TP, int]:
    """Of each partition that this worker works on, up to where it is done."""
    return {tp: consumer._committed_offset[tp] or 0 for tp in consumer.assignment()}


async def _lag(log: LogReader, committed: Mapping[TP, int]) -> dict[TP, int]:
    held = await log.held([(tp.topic, tp.partition) for tp in committed])
    return {tp: _left(*held[tp.topic, tp.partition], offset) for tp, offset in committed.items()}


def _left(first: int, next_: int, committed: int) -> int:
    """How many records of those from `first` on are not done; retention may have taken others."""
    return max(0, next_ - max(first, committed))


def _told(lag: Mapping[TP, int]) -> str:
    return ", ".join(f"{records} of {tp.topic} {tp.partition}" for tp, records in sorted(lag.items()) if records)
