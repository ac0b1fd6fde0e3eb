"""`topics create` and `topics check`: Kafka's topics as they must be."""

import asyncio

import click

from broker.errors import BrokerError
from broker.topics import check_topics, create_topics
from cli.output import json_option, write_json
from cli.problems import telling
from embedded.addresses import resolve
from embedded.errors import EmbeddedError
from pipeline.settings import SettingsError, load


@click.group()
def topics() -> None:
    """Make and check Kafka's topics."""


@topics.command()
@telling(SettingsError, EmbeddedError, BrokerError)
def create() -> None:
    """Make the topics that are missing. Those that are there stay as they are.

    \b
    Example:
      WHIPSTITCH_KAFKA=kafka-1:9092 WHIPSTITCH_PARTITIONS=32 WHIPSTITCH_REPLICATION=3 whipstitch topics create
    """
    created = asyncio.run(create_topics(resolve(load(), "kafka")))
    click.echo("".join(f"created {name}\n" for name in created) or "all topics are there\n", nl=False)


@topics.command()
@json_option
@telling(SettingsError, EmbeddedError, BrokerError)
def check(as_json: bool) -> None:
    """Say where partition counts, retention or compaction differ from what is needed; exit 1 where they do.

    \b
    Example:
      whipstitch topics check
    """
    problems = asyncio.run(check_topics(resolve(load(), "kafka")))
    if as_json:
        write_json({"ok": not problems, "problems": problems})
    else:
        click.echo("\n".join(problems) or "all topics are as they must be")
    if problems:
        raise SystemExit(1)
