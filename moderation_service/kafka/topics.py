"""The topics as the service wants them, created or compared with what is there, and how durable they are.

The producers ask for `acks=all`, which is worth no more than the topic's `min.insync.replicas`.
"""

import asyncio
from collections.abc import AsyncIterator, Container, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidConfigurationError,
    KafkaError,
    NoError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from moderation_service.errors import Fatal
from moderation_service.kafka.clients import admin, wait_for_broker
from moderation_service.kafka.record_sizes import HEADROOM_BYTES, record_limit
from moderation_service.settings import KafkaSettings

REPLICAS = 3  # wanted where the cluster has as many brokers
MIN_INSYNC = "min.insync.replicas"
UNCLEAN = "unclean.leader.election.enable"
_ENOUGH = 2
PARTITIONS = 6
BROKERS_DEFAULT = -1  # the broker's own replication factor
_ANSWER_MS = 30_000
_MISSING = UnknownTopicOrPartitionError.errno
_TRIES_TO_SEE = 10
_SEE_PAUSE_S = 0.1


def min_insync_replicas(replicas: int) -> int:
    """Two, and one replica may always be away: 1 for a topic of 1 or 2 replicas."""
    return max(1, min(_ENOUGH, replicas - 1))


def durability_faults(replicas: int, brokers: int, config: Mapping[str, str]) -> Iterator[str]:
    """What may lose acknowledged records, or stop writes when one broker is away; each with what to set."""
    if replicas < REPLICAS <= brokers:
        yield f"replication factor {replicas} on {brokers} brokers, wanted {REPLICAS}: reassign its partitions"
    least, wanted = int(config[MIN_INSYNC]), min_insync_replicas(replicas)
    if least < wanted:
        yield (
            f"{MIN_INSYNC} {least} with {replicas} replicas: one broker's crash may lose acknowledged records; "
            f"set {MIN_INSYNC}={wanted}"
        )
    elif least > wanted:
        yield (
            f"{MIN_INSYNC} {least} with {replicas} replicas: nothing can be written while one broker is away; "
            f"set {MIN_INSYNC}={wanted}"
        )
    if config.get(UNCLEAN) == "true":
        yield f"{UNCLEAN} true: a replica that lags may lead and lose acknowledged records; set {UNCLEAN}=false"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: partitions, replicas (-1: the broker's default) and configuration by Kafka's names."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


def wanted(settings: KafkaSettings, partitions: int = PARTITIONS, replication: int = BROKERS_DEFAULT) -> list[Topic]:
    """The topics that the settings name. Only banks are compacted: a verdict stays on record until its retention ends.

    Banks have one partition: they are few records, each worker reads all of them, and the order of one log is theirs.
    """
    keep = {
        **dict.fromkeys(settings.input_topics, timedelta(days=7)),
        settings.output_topic: timedelta(days=200),
        settings.dead_letter_topic: timedelta(days=30),
        settings.review_topic: timedelta(days=200),
        settings.audit_topic: timedelta(days=200),
        settings.escalation_topic: timedelta(days=200),
    }
    common = {"max.message.bytes": str(record_limit(settings))}
    if replication != BROKERS_DEFAULT:
        common[MIN_INSYNC] = str(min_insync_replicas(replication))
    deleted = {name: {"cleanup.policy": "delete", "retention.ms": _ms(kept), **common} for name, kept in keep.items()}
    # a worker that was cut off for less than this still reads what was removed meanwhile
    compacted = {"cleanup.policy": "compact", "delete.retention.ms": _ms(timedelta(days=7)), **common}
    return [
        *(Topic(name, partitions, replication, config) for name, config in deleted.items()),
        Topic(settings.banks_topic, 1, replication, compacted),
    ]


async def create(
    settings: KafkaSettings, partitions: int = PARTITIONS, replication: int = BROKERS_DEFAULT
) -> dict[str, str]:
    """Make the topics that are missing; what happened to each: `created` or `exists`. None is changed.

    Where the brokers don't tell their default replication, they also choose `min.insync.replicas`. Raises Fatal where
    the broker is away or refuses one.
    """
    outcome: dict[str, str] = {}
    async with connected(settings) as client:
        if replication == BROKERS_DEFAULT:
            replication = await _default_replication(client)
        for name, error, message in await _send(client, wanted(settings, partitions, replication)):
            if error not in {NoError, TopicAlreadyExistsError}:
                msg = f"topic {name} was not created: {message}"
                raise Fatal(msg)
            outcome[name] = "created" if error is NoError else "exists"
        for name in outcome:
            await partitions_of(client, name)
    return outcome


async def _send(
    client: AIOKafkaAdminClient, topics: Iterable[Topic], *, validate_only: bool = False
) -> list[tuple[str, type[KafkaError], str]]:
    """Ask for the topics: name, error (NoError among them) and the broker's words for each."""
    # aiokafka takes the brokers' default (-1) only beside an empty assignment, and a number only beside none
    new = [
        NewTopic(
            topic.name,
            topic.partitions,
            topic.replication,
            {} if topic.replication == BROKERS_DEFAULT else None,
            dict(topic.config),
        )
        for topic in topics
    ]
    if not new:
        return []
    answer = await client.create_topics(new, timeout_ms=_ANSWER_MS, validate_only=validate_only)
    return [
        (name, for_code(code), message[0] if message and message[0] else for_code(code).__name__)
        for name, code, *message in answer.topic_errors
    ]


async def _default_replication(client: AIOKafkaAdminClient) -> int:
    """What the brokers do by themselves; BROKERS_DEFAULT where they don't tell."""
    brokers = (await client.describe_cluster())["brokers"]
    try:
        answers = await client.describe_configs([ConfigResource(ConfigResourceType.BROKER, str(brokers[0]["node_id"]))])
    except KafkaError:
        return BROKERS_DEFAULT
    found = {entry[0]: entry[1] for answer in answers for *_, entries in answer.resources for entry in entries}
    return int(found.get("default.replication.factor") or BROKERS_DEFAULT)


async def partitions_of(client: AIOKafkaAdminClient, name: str) -> list[int]:
    """The numbers of a topic's partitions; none where it is missing. A topic just made is waited for.

    Raises Fatal where it must not be seen.
    """
    for _ in range(_TRIES_TO_SEE):
        (topic,) = await client.describe_topics([name])
        if topic["error_code"] == TopicAuthorizationFailedError.errno:
            msg = f"topic {name}: the broker does not let us see it ({TopicAuthorizationFailedError.__name__})"
            raise Fatal(msg)
        if not topic["error_code"] and all(partition["leader"] >= 0 for partition in topic["partitions"]):
            return sorted(partition["partition"] for partition in topic["partitions"])
        await asyncio.sleep(_SEE_PAUSE_S)
    return []


async def check(
    settings: KafkaSettings,
    partitions: int | None = None,
    replication: int | None = None,
    *,
    only: Container[str] | None = None,
) -> list[str]:
    """What differs from what is wanted, a line each; none when all is well. `only` names the topics to look at.

    The numbers of partitions and replicas are compared where they are given; durability always is. Raises Fatal where
    the broker is away, or does not let us look.
    """
    topics = wanted(settings, partitions or PARTITIONS, replication or BROKERS_DEFAULT)
    topics = [topic for topic in topics if only is None or topic.name in only]
    async with connected(settings) as client:
        found = {topic["topic"]: topic for topic in await client.describe_topics([topic.name for topic in topics])}
        codes = {topic.name: found[topic.name]["error_code"] if topic.name in found else _MISSING for topic in topics}
        for name, code in codes.items():
            if code not in {0, _MISSING}:
                msg = f"topic {name}: it can't be described ({for_code(code).__name__})"
                raise Fatal(msg)
        present = [topic for topic in topics if not codes[topic.name]]
        missing = [topic for topic in topics if codes[topic.name]]
        configs = await _configs(client, [topic.name for topic in present])
        refused = {
            name: f", and the broker refuses it as wanted: {message}"
            for name, error, message in await _send(client, missing, validate_only=True)
            if error in {InvalidConfigurationError, PolicyViolationError}
        }
        brokers = len((await client.describe_cluster())["brokers"])
    differences = [f"{topic.name}: missing{refused.get(topic.name, '')}" for topic in missing]
    for topic in present:
        there = found[topic.name]["partitions"]
        if partitions and len(there) != topic.partitions:
            differences.append(f"{topic.name}: {len(there)} partitions, wanted {topic.partitions}")
        replicas = min(len(partition["replicas"]) for partition in there)
        if replication and replicas != replication:
            differences.append(f"{topic.name}: {replicas} replicas, wanted {replication}")
        differences += _config_differences(topic, configs[topic.name])
        faults = durability_faults(replicas, brokers, configs[topic.name])
        differences += [f"{topic.name}: {fault}" for fault in faults]
    return differences


def _config_differences(topic: Topic, config: Mapping[str, str]) -> Iterable[str]:
    """Larger records and longer retention are fine; short retention loses posts, a small size blocks them."""
    limit, wanted_limit = int(config["max.message.bytes"]), int(topic.config["max.message.bytes"])
    if limit < wanted_limit:
        yield (
            f"{topic.name}: max.message.bytes {limit}, wanted at least {wanted_limit}; where the provider allows no "
            f"more, set kafka.max_message_bytes to {limit - HEADROOM_BYTES}"
        )
    for retention in {"retention.ms", "delete.retention.ms"} & topic.config.keys():
        kept, wanted_kept = int(config[retention]), int(topic.config[retention])
        if 0 <= kept < wanted_kept:
            yield f"{topic.name}: {retention} {kept}, wanted at least {wanted_kept}"
    if config["cleanup.policy"] != topic.config["cleanup.policy"]:
        yield f"{topic.name}: cleanup.policy {config['cleanup.policy']}, wanted {topic.config['cleanup.policy']}"


def _ms(time: timedelta) -> str:
    return str(int(time.total_seconds() * 1000))


async def _configs(client: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    answers = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    configs: dict[str, dict[str, str]] = {}
    for answer in answers:
        for code, message, _, name, entries in answer.resources:
            if for_code(code) is not NoError:
                msg = f"topic {name}: its configuration can't be read ({message})"
                raise Fatal(msg)
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return configs


@asynccontextmanager
async def connected(settings: KafkaSettings) -> AsyncIterator[Any]:
    """An admin client for the block. Raises Fatal where the broker is away."""
    await wait_for_broker(settings)
    client = admin(settings)
    try:
        await client.start()
        yield client
    except (KafkaError, TimeoutError) as error:
        msg = f"kafka.bootstrap_servers {settings.bootstrap_servers}: {error or type(error).__name__}"
        raise Fatal(msg) from error
    finally:
        await client.close()
