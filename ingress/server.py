"""One ingress process: HTTP in front, Kafka behind, and the order in which they start and stop.

It listens at once and says 503 until Kafka is reached. SIGTERM and Ctrl-C drain it: no new connections, the requests
in flight are answered, which is when Kafka has their events or cannot be waited for, then exit code 0.
"""

import asyncio
import logging
import signal
import socket
import sys
from dataclasses import replace

import uvicorn
import uvloop

from broker.control import DirectoryFollower
from broker.errors import BrokerError, BrokerRefused, BrokerUnavailable
from broker.producer import DurableProducer
from ingress import millimetric, mixpanel, segment
from ingress.app import App, Backend, Counts, Pages
from ingress.body import BodyReader
from ingress.contract import Routes
from ingress.dialects import with_shared_paths
from ingress.health import Health
from ingress.metrics import METRICS, Metrics
from ingress.openapi import OPENAPI, openapi_page
from ingress.protocol import BoundedHttpProtocol
from ingress.publisher import Publisher, PublishLimits
from pipeline.settings import Settings
from topics.names import RAW

_RECONNECT_S = 1.0
_BODY_TIMEOUT_S = 30.0
_MAX_PENDING_BODY_BYTES = 64 * 1024 * 1024
_KEEP_ALIVE_S = 65  # longer than the minute after which balancers in front drop an idle connection
_DRAIN_S = 15  # above PublishLimits.max_wait_s: by then every request has its answer
_STOP_PRODUCER_S = 2.0

log = logging.getLogger(__name__)


def run(settings: Settings, limits: PublishLimits | None = None, share_port: bool = False) -> int:
    """Run until SIGTERM or Ctrl-C, and return the exit code; 1, and one line in the log, where it cannot go on.

    With `share_port` other processes that also share it may listen on the same port (SO_REUSEPORT).
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        listening = _listen(settings.host, settings.port, share_port)
    except OSError as error:
        log.error("cannot listen on %s:%d: %s; choose another WHIPSTITCH_PORT", settings.host, settings.port, error)
        return 1
    with listening, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Ingress(settings, limits or _publish_limits(settings)).serve(listening))


def served_routes(settings: Settings) -> Routes:
    """What takes events, of every dialect."""
    shared = with_shared_paths(segment.routes(settings), millimetric.routes(settings))
    return {**shared, **mixpanel.routes(settings)}


class _Ingress:
    def __init__(self, settings: Settings, limits: PublishLimits) -> None:
        self._settings = settings
        self._limits = limits
        self._health = Health()
        self._counts = Counts()
        max_body_bytes = 2 * settings.max_batch_bytes
        bodies = BodyReader(max_body_bytes, max(_MAX_PENDING_BODY_BYTES, 4 * max_body_bytes), _BODY_TIMEOUT_S)
        self._app = App(served_routes(settings), self._pages(), bodies, self._counts)
        self._server = uvicorn.Server(_uvicorn_config(self._app))

    def _pages(self) -> Pages:
        pages = {**self._health.pages(), METRICS: Metrics(self._counts, self._health).page}
        served = (*served_routes(self._settings), *pages, OPENAPI)
        return {**pages, OPENAPI: openapi_page(served)}

    async def serve(self, listening: socket.socket) -> int:
        # uvicorn raises the signals that it caught once more when it is done: let that find a handler.
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, self._server.handle_exit)
        log.info("listening on http://%s:%d", *listening.getsockname()[:2])
        kafka = asyncio.create_task(self._stay_connected())
        kafka.add_done_callback(self._stop_serving)
        await self._server.serve(sockets=[listening])
        kafka.cancel()
        try:
            failure = await kafka
        except asyncio.CancelledError:
            return 0
        log.error("%s", failure)
        return 1

    def _stop_serving(self, _kafka: asyncio.Task[BrokerError]) -> None:
        self._server.should_exit = True

    async def _stay_connected(self) -> BrokerError:
        """Connect to Kafka and take events, until that fails for good or is cancelled. Returns what failed."""
        producer, follower = DurableProducer(self._settings), DirectoryFollower(self._settings)
        publisher: Publisher | None = None
        try:
            partitions = await self._connect(producer, follower)
            publisher = Publisher(producer, RAW, partitions, self._limits)
            self._health.producer, self._health.publisher = producer, publisher
            self._app.backend = Backend(publisher, follower)
            log.info("ready to take events")
            return await _failure(publisher, follower)
        except BrokerRefused as error:
            return error
        finally:
            if publisher is not None:
                await publisher.close()
            await producer.stop(_STOP_PRODUCER_S)
            await follower.stop()

    async def _connect(self, producer: DurableProducer, follower: DirectoryFollower) -> int:
        """The number of partitions of `events.raw`, once Kafka and the directory are there, however long that takes."""
        while True:
            try:
                await producer.start()
                partitions = await producer.partitions(RAW)
                await follower.start()
                return partitions
            except BrokerUnavailable as error:
                if str(error) != self._health.not_ready:
                    log.warning("%s", error)
                self._health.not_ready = str(error)
            await asyncio.sleep(_RECONNECT_S)


async def _failure(publisher: Publisher, follower: DirectoryFollower) -> BrokerError:
    """Wait until the directory can be followed no more, and return why. Raises what a bug in the publisher raised."""
    following = asyncio.create_task(follower.failed())
    publisher.crashed.add_done_callback(lambda _: following.cancel())
    try:
        return await following
    except asyncio.CancelledError:
        if publisher.crashed.done():
            publisher.crashed.result()
        raise
    finally:
        following.cancel()


def _publish_limits(settings: Settings) -> PublishLimits:
    """Room for the largest batch there may be, each of its events with the batch's context."""
    limits = PublishLimits()
    return replace(limits, max_waiting_bytes=max(limits.max_waiting_bytes, 32 * settings.max_batch_bytes))


def _listen(host: str, port: int, share_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    return listening


def _uvicorn_config(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedHttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_DRAIN_S,
    )
