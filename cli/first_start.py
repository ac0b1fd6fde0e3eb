"""What `up` makes where it is missing, as soon as the engine answers: topics, tables, a project to begin with.

Safe to repeat: what is there stays as it is.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from broker.errors import BrokerError
from broker.topics import create_topics
from cli import control
from embedded.addresses import resolve
from embedded.errors import EmbeddedError
from pipeline.settings import Settings
from store.client import open_store
from store.errors import StoreError
from store.migrate import migrate
from topics.control import Project

DEFAULT_PROJECT = "default"
Say = Callable[[str], None]


class CannotPrepare(EmbeddedError):
    """Kafka or the store answers, but does not take what `up` needs there; the message is theirs."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys as they are shown once."""

    public: str
    secret: str


def make_topics(settings: Settings, say: Say) -> None:
    try:
        created = asyncio.run(create_topics(resolve(settings, "kafka")))
    except BrokerError as error:
        raise CannotPrepare(str(error)) from error
    if created:
        say(f"made {len(created)} topics")


def make_tables(settings: Settings, say: Say) -> None:
    try:
        applied = migrate(open_store(resolve(settings, "store").store))
    except StoreError as error:
        raise CannotPrepare(str(error)) from error
    if applied:
        say(f"made the store's tables: {len(applied)} migrations")


def make_project(settings: Settings) -> Keys | None:
    """Where there is no project at all: one, with a key of each kind. None where there is one: keys are shown once."""
    connected = resolve(settings, "kafka")
    try:
        if control.directory(connected).projects:
            return None
        secret, secret_record = control.new_key(DEFAULT_PROJECT, "secret")
        public, public_record = control.new_key(DEFAULT_PROJECT, "public")
        project = Project(id=DEFAULT_PROJECT, created_at_ms=control.now_ms())
        control.write(connected, project, secret_record, public_record)
    except BrokerError as error:
        raise CannotPrepare(str(error)) from error
    return Keys(public, secret)
