"""`GET /health/live`: the process answers. `GET /health/ready`: events sent now would be taken, or why not."""

from collections.abc import Mapping

from broker.errors import BrokerError
from broker.producer import DurableProducer
from ingress.app import Page
from ingress.contract import Answer, json_answer
from ingress.errors import RETRY_AFTER_S
from ingress.publisher import Publisher
from topics.names import RAW

# Short of the second that most probes wait.
_BROKER_TIMEOUT_S = 0.8

_LIVE = json_answer(200, {"status": "live"})
_READY = json_answer(200, {"status": "ready"})


class Health:
    """`not_ready` is the reason until a producer and a publisher are there to be asked."""

    def __init__(self) -> None:
        self.not_ready = "not connected to Kafka yet"
        self.producer: DurableProducer | None = None
        self.publisher: Publisher | None = None

    def pages(self) -> Mapping[tuple[str, str], Page]:
        return {("GET", "/health/live"): self._live, ("GET", "/health/ready"): self._ready}

    async def _live(self) -> Answer:
        return _LIVE

    async def _ready(self) -> Answer:
        reason = await self._reason()
        if reason is None:
            return _READY
        payload = {"status": "not_ready", "reason": reason}
        return json_answer(503, payload, ((b"retry-after", b"%d" % RETRY_AFTER_S),))

    async def _reason(self) -> str | None:
        if self.producer is None or self.publisher is None:
            return self.not_ready
        if stuck := self.publisher.stuck_partitions:
            return f"{RAW}: partitions {stuck} do not confirm what was sent; are all brokers up?"
        try:
            await self.producer.check(RAW, _BROKER_TIMEOUT_S)
        except BrokerError as error:
            return str(error)
        return None
