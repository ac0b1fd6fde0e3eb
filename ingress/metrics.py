"""`GET /metrics`: what this ingress has done, in Prometheus' text format.

The hot path only counts in a dict (0.1 µs a request); names, labels and text are made when somebody asks.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from ingress.app import Counts
from ingress.contract import Answer
from ingress.health import Health

METRICS = ("GET", "/metrics")


class Metrics(Collector):
    """The page, made of what the app has counted and of how it stands with Kafka."""

    def __init__(self, counts: Counts, health: Health) -> None:
        self._counts = counts
        self._health = health
        self._registry = CollectorRegistry()
        self._registry.register(self)

    async def page(self) -> Answer:
        return Answer(200, generate_latest(self._registry), ((b"content-type", CONTENT_TYPE_LATEST.encode()),))

    def collect(self) -> Iterator[Metric]:
        answers = CounterMetricFamily("whipstitch_http_answers", "Requests answered", labels=("path", "status"))
        for (path, status), count in self._counts.answers.items():
            answers.add_metric((path, str(status)), count)
        yield answers
        yield CounterMetricFamily("whipstitch_events_taken", "Events that Kafka has confirmed", self._counts.events)
        publisher = self._health.publisher
        yield GaugeMetricFamily("whipstitch_connected", "1 once Kafka has been reached", float(publisher is not None))
        if publisher is not None:
            yield GaugeMetricFamily(
                "whipstitch_waiting_bytes", "Bytes held until Kafka confirms them", publisher.waiting_bytes
            )
            yield GaugeMetricFamily(
                "whipstitch_stuck_partitions", "Partitions that confirm nothing", len(publisher.stuck_partitions)
            )
