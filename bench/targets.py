"""What is to be reached: every figure of the table, with its targets and the command that measures it alone."""

from dataclasses import dataclass
from typing import Final

CONTROL: Final = "control"


@dataclass(frozen=True, slots=True)
class Target:
    """`good` and `reach` are None where a figure is told for what it is. `command` is `python -m` of it."""

    key: str
    name: str
    good: float | None
    reach: float | None
    command: str
    is_lower_better: bool = False
    unit: str = ""


def _drained(key: str, name: str, good: float | None = None, reach: float | None = None) -> Target:
    return Target(key, name, good, reach, f"bench --only {key}")


def _lower(key: str, name: str, good: float | None, reach: float | None, command: str, unit: str = "") -> Target:
    return Target(key, name, good, reach, command, is_lower_better=True, unit=unit)


TARGETS: Final = (
    _drained(CONTROL, "worker / the same worker (0.95 to 1.05, or the run is void)"),
    _drained("f_naive", "worker, all guarantees / F-naive", 1.0, 2.0),
    _drained("f_tuned", "worker / F-tuned", 0.30, 0.50),
    _drained("l1", "worker / L1 (consume and decode, nothing else)", 0.20, 0.35),
    _drained("quix", "worker / same logic in Quix Streams", 1.5, 3),
    _drained("bytewax_flow", "worker / same logic in Bytewax", 1.5, 3),
    _drained("faust_agent", "worker / S-faust", 8, 15),
    _drained("kafka_engine", "worker / ClickHouse's own Kafka engine"),
    _drained("guarantees", "guarantees on / off", 0.85, 0.95),
    Target("ingress", "ingress, durable ack, 1 event a request / bare echo", 0.35, 0.6, "bench.ingress"),
    Target("ingress_batch", "ingress, 100 events a request, events / 1 event a request", 8, 20, "bench.ingress"),
    Target("replay", "replay drain / live drain", 0.9, 1.2, "bench.replay"),
    _drained("two_workers", "two workers / one, events per second", 1.7, 1.95),
    _lower("memory", "memory: a remembered messageId", 120, 40, "bench.dedupe", " B"),
    _lower("many_ids", "cost per event at 10⁷ known ids / at 10⁵", 1.5, 1.1, "bench.known_ids"),
    _lower(
        "resolved", "`uniqExact` of the resolved person / of `coalesce(user_id, anonymous_id)`", 4, 2, "bench.views"
    ),
    _lower("squashed", "`uniqExact` of the resolved person after squash / the same", 1.5, 1.1, "bench.views"),
    _lower("latency_row", "HTTP receipt to queryable row, p99, unloaded", 1, 1, "bench.latency", " s"),
    _lower("latency_who", "`identify` to earlier anonymous rows resolved, p99, unloaded", 1, 1, "bench.latency", " s"),
    Target("halves", "stitch agent alone / sink agents alone", None, None, "bench.drain"),
    _lower("identify", "cost of a first `identify` / of a track of an unknown id", None, None, "bench.identity"),
)
