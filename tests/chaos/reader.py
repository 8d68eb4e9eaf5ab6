"""Reads the input and both output topics as a `read_committed` consumer of another library."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from moderation_service.settings import KafkaSettings
from tests.chaos.traffic import Sent, letter_of, named, post_name

_READ_S = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where an output is."""

    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class Found:
    """The outputs by the names of what they answer; several where it was answered several times."""

    places: defaultdict[str, list[Place]] = field(default_factory=lambda: defaultdict(list))
    order: defaultdict[tuple[str, int], list[str]] = field(default_factory=lambda: defaultdict(list))
    verdict_ids: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    kinds: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    letters: defaultdict[str, list[dict[str, str]]] = field(default_factory=lambda: defaultdict(list))
    erased: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, name: str, place: Place) -> None:
        self.kinds[kind] += 1
        self.places[name].append(place)
        self.order[place.topic, place.partition].append(name)


def read(settings: KafkaSettings) -> Found:
    """Both topics from their beginning to their present end."""
    found = Found()
    for message in _records(settings, settings.output_topic):
        place = Place(settings.output_topic, message.partition(), message.offset())
        if message.value() is None:
            found.add("gone", message.key().decode(), place)
            continue
        verdict = json.loads(message.value())
        name = post_name(verdict["post_id"], verdict["post_revision"])
        found.verdict_ids[name].add(verdict["verdict_id"])
        found.add("verdict", name, place)
    for message in _records(settings, settings.dead_letter_topic):
        if message.value() is None:
            found.erased[message.key().decode()] += 1
            continue
        letter = letter_of(message.headers() or ())
        _, name = named(message.key(), message.value())
        found.letters[name].append(letter)
        found.reasons[letter["reason"]] += 1
        found.add("dead", name, Place(settings.dead_letter_topic, message.partition(), message.offset()))
    return found


def written(settings: KafkaSettings) -> list[Sent]:
    """What the input topic holds, which is what the promise is about.

    It may hold a record twice that was acknowledged once: an idempotent producer that raises its epoch while a broker
    is away sends again what is written already (librdkafka's issue 4953).
    """
    return [
        Sent(*named(message.key(), message.value()), message.partition(), message.offset())
        for message in _records(settings, settings.input_topic)
    ]


def _records(settings: KafkaSettings, topic: str) -> Iterator[Message]:
    reader = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": "checker",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        partitions = reader.list_topics(topic, timeout=_READ_S).topics[topic].partitions
        reader.assign([TopicPartition(topic, number, 0) for number in partitions])
        left = set(partitions)
        while left:
            message = reader.poll(_READ_S)
            assert message is not None, f"{topic} can't be read to its end: partitions {sorted(left)}"
            if message.error() is None:
                left.add(message.partition())
                yield message
            elif message.error().code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition())
    finally:
        reader.close()
