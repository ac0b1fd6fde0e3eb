"""What every client of Kafka is given: where the brokers are, and how to speak to them."""

import asyncio
import ssl
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError

from broker.errors import BrokerError, BrokerRefused, BrokerUnavailable, broker_error
from pipeline.settings import Settings

_STOP_AGAIN_AFTER_S = 2.0


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments that aiokafka's producer, consumer and admin client all take.

    `settings.kafka` is a list of brokers here, never "embedded". Raises BrokerRefused where the CA file cannot be used.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.kafka.split(",")],
        "client_id": "whipstitch",
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_security_mechanism
        options["sasl_plain_username"] = settings.kafka_security_username
        options["sasl_plain_password"] = settings.kafka_security_password
    return options


async def why_unreachable(settings: Settings, timeout_s: float = 10.0) -> BrokerError:
    """What keeps us from the first broker. aiokafka tells of wrong credentials and absent hosts alike as
    "unable to bootstrap", and says which only to its log."""
    options = client_options(settings)
    server = options.pop("bootstrap_servers")[0]
    host, _, port = server.rpartition(":")
    try:
        connection = await create_conn(host, int(port), request_timeout_ms=int(timeout_s * 1000), **options)
    except KafkaError as error:
        return broker_error(f"connect to Kafka at {server}", error)
    except (OSError, TimeoutError) as error:
        why = str(error) or "no answer"
        return BrokerUnavailable(f"cannot connect to Kafka at {server}: {why}; is it up, and WHIPSTITCH_KAFKA right?")
    connection.close()
    return BrokerUnavailable(
        f"Kafka at {server} takes connections but does not answer; is WHIPSTITCH_KAFKA_SECURITY_PROTOCOL right?"
    )


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer whose partitions may have changed just now.

    aiokafka's fetcher lets go of the fetches of partitions that it has no more under `suppress(CancelledError)`: where
    `stop` cancels it in that moment, it goes on, and `stop` waits for it for ever. A second cancellation ends it.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_STOP_AGAIN_AFTER_S):
            await consumer.stop()


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    file = settings.kafka_security_ca_file
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise BrokerRefused(
            f"{file}: {error.strerror or error}; WHIPSTITCH_KAFKA_SECURITY_CA_FILE must name PEM certificates"
        ) from error
