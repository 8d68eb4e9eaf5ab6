"""The commands on topics and dead letters."""

import asyncio
from typing import Annotated

from cyclopts import App, Parameter, validators

from moderation_service.app.dlq import print_letters
from moderation_service.app.dlq import redrive as drive_in_again
from moderation_service.app.dlq_letters import Chosen
from moderation_service.cli.common import PROBLEMS, Servers, SettingsFile, load
from moderation_service.kafka.topics import BROKERS_DEFAULT, PARTITIONS
from moderation_service.kafka.topics import check as differences_of_topics
from moderation_service.kafka.topics import create as create_topics

topics = App(name="topics", help="The topics as they should be.")
dlq = App(name="dlq", help="Dead letters: records that could not be judged.")


@topics.command
def create(
    *,
    partitions: int = PARTITIONS,
    replication: int = BROKERS_DEFAULT,
    bootstrap_servers: Servers = None,
    settings: SettingsFile = None,
) -> int:
    """Create the topics that are missing; `replication -1` is the brokers' default.

    Example: `moderation topics create --partitions 12 --replication 3`
    """
    outcome = asyncio.run(create_topics(load(settings, bootstrap_servers).kafka, partitions, replication))
    print(*(f"{name}: {what}" for name, what in outcome.items()), sep="\n")
    return 0


@topics.command(name="check")
def check_topics(
    *,
    partitions: int | None = None,
    replication: int | None = None,
    bootstrap_servers: Servers = None,
    settings: SettingsFile = None,
) -> int:
    """Say how the topics differ from what they should be; exits 1 if they do.

    Partitions and replicas are compared where they are given.

    Example: `moderation topics check --replication 3`
    """
    kafka = load(settings, bootstrap_servers).kafka
    differences = asyncio.run(differences_of_topics(kafka, partitions, replication))
    print(*(differences or ["the topics are as they should be"]), sep="\n")
    return PROBLEMS if differences else 0


@dlq.command(name="list")
def list_letters(
    *,
    reason: str | None = None,
    stage: str | None = None,
    key: str | None = None,
    bootstrap_servers: Servers = None,
    settings: SettingsFile = None,
) -> int:
    """Print the dead letters, a JSON line each, without what the posts say.

    Example: `moderation dlq list --reason not_json | jq -r .key`
    """
    asyncio.run(print_letters(load(settings, bootstrap_servers).kafka, Chosen(reason, stage, key)))
    return 0


@dlq.command
def redrive(  # noqa: PLR0913 - each is a flag
    *,
    reason: str | None = None,
    stage: str | None = None,
    key: str | None = None,
    most: int = 1,
    rate: Annotated[float | None, Parameter(validator=validators.Number(gt=0))] = None,
    bootstrap_servers: Servers = None,
    settings: SettingsFile = None,
) -> int:
    """Send the records of dead letters to the input topic again, each letter once, `most` times a record.

    With `rate` no more than so many records a second, so that new posts do not wait behind them.

    Exits 1 where some that are meant were left out.

    Example: `moderation dlq redrive --reason engine_error --rate 20`
    """
    kafka = load(settings, bootstrap_servers).kafka
    return PROBLEMS if asyncio.run(drive_in_again(kafka, Chosen(reason, stage, key), most, rate)) else 0
