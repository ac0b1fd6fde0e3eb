"""Records taken away from the beginning of a topic's partitions, as retention does."""

from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from broker.connection import client_options
from pipeline.settings import Settings


async def take_away(settings: Settings, topic: str, before: Mapping[int, int]) -> None:
    """`before`: by partition the offset of the first record that stays."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    await admin.delete_records({TopicPartition(topic, p): RecordsToDelete(offset) for p, offset in before.items()})
    await admin.close()
