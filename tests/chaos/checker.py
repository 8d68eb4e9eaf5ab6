"""Reads both output topics as a `read_committed` consumer of another library, and holds them to what was sent."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from moderation_service.settings import KafkaSettings
from tests.chaos.traffic import Sent, letter_of, post_name
from tests.chaos.watch import Sample

_SHOWN = 5
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
    letters: dict[str, dict[str, str]] = field(default_factory=dict)
    erased: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)  # how often each is on the input topic, where that matters

    @property
    def repeated(self) -> dict[str, int]:
        """What was answered or erased more often than once, and how often."""
        answered = {name: len(places) for name, places in self.places.items() if len(places) > 1}
        return answered | {name: times for name, times in self.erased.items() if times > answered.get(name, 1)}

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
        name = message.key().decode()
        if not name.startswith("poison-"):
            post = json.loads(message.value())
            name = post_name(post["post_id"], post.get("revision", 1))
        found.letters[name] = letter
        found.reasons[letter["reason"]] += 1
        found.add("dead", name, Place(settings.dead_letter_topic, message.partition(), message.offset()))
    if found.repeated:
        # The producer of the harness itself may write twice, when a broker dies before it answers.
        found.written.update(_input_name(message) for message in _records(settings, settings.input_topic))
    return found


def _input_name(message: Message) -> str:
    key: str = message.key().decode()
    if message.value() is None or key.startswith("poison-"):
        return key
    post = json.loads(message.value())
    return post_name(post["post_id"], post.get("revision", 1))


def breaches(
    found: Found,
    sent: Sequence[Sent],
    samples: Sequence[Sample],
    *,
    once: bool,
    until: Mapping[int, int] | None = None,
) -> list[str]:
    """What breaks the promise; nothing where all is well. `once`: exactly, not at least. `until`: as far as that."""
    wanted = {one.name: one for one in sent}
    gone = {one.name for one in due(sent, until) if one.kind == "gone"}
    return [
        *_some("missing", [one.name for one in due(sent, until) if one.name not in found.places]),
        *_some("letters not erased", sorted(gone - found.erased.keys())),
        *_each(found, wanted, once=once),
        *_kinds(found, wanted),
        *_order(found, wanted),
        *_watermark(found, sent, samples),
    ]


def due(sent: Sequence[Sent], until: Mapping[int, int] | None) -> list[Sent]:
    """What must have been published: all, or what lies below these offsets of the partitions."""
    return [one for one in sent if until is None or one.offset < until.get(one.partition, 0)]


def _each(found: Found, wanted: Mapping[str, Sent], *, once: bool) -> Iterator[str]:
    yield from _some("never sent", [name for name in found.places if name not in wanted])
    if once:
        more = {name for name, times in found.repeated.items() if times > found.written.get(name, 1)}
        yield from _some("more than once", [name for name in more if len(found.places.get(name, ())) > 1])
        yield from _some("erased more than once", [name for name in more if found.erased[name] > 1])
    yield from _some("verdict ids differ", [name for name, ids in found.verdict_ids.items() if len(ids) > 1])


def _kinds(found: Found, wanted: Mapping[str, Sent]) -> Iterator[str]:
    """Poison has a dead letter, and names the record; what can be judged has none."""
    for name, letter in found.letters.items():
        if (one := wanted.get(name)) is None:
            continue
        if one.kind != "poison":
            yield f"a post became a dead letter: {name}: {letter['reason']}"
        elif (letter["partition"], letter["offset"]) != (str(one.partition), str(one.offset)):
            yield f"a dead letter names another record: {name}"
    judged = [name for name in found.verdict_ids if name in wanted and wanted[name].kind != "post"]
    yield from _some("a verdict on what is no post", judged)


def _order(found: Found, wanted: Mapping[str, Sent]) -> Iterator[str]:
    """What comes from one input partition lies in its order in each output partition, first times counted."""
    for (topic, partition), names in found.order.items():
        last: dict[int, int] = {}
        for name in dict.fromkeys(names):
            one = wanted.get(name)
            if one is None:
                continue
            if one.offset < last.get(one.partition, -1):
                yield f"order: {name}, offset {one.offset}, after {last[one.partition]} in {topic}[{partition}]"
                break
            last[one.partition] = one.offset


def _watermark(found: Found, sent: Sequence[Sent], samples: Sequence[Sample]) -> Iterator[str]:
    """Whatever was below a committed offset was published before: its place is below the ends that were seen then.

    A committed offset never goes back.
    """
    inputs: defaultdict[int, list[Sent]] = defaultdict(list)
    for one in sent:
        inputs[one.partition].append(one)
    for records in inputs.values():
        records.sort(key=lambda one: one.offset)
    checked: Counter[int] = Counter()  # records of a partition whose places were held to a sample
    committed: dict[int, int] = {}
    for sample in samples:
        for partition, offset in sample.committed.items():
            if offset < committed.get(partition, 0):
                yield f"committed offset of {partition} went back from {committed[partition]} to {offset}"
            committed[partition] = offset
            records = inputs[partition]
            while checked[partition] < len(records) and records[checked[partition]].offset < offset:
                one = records[checked[partition]]
                checked[partition] += 1
                places = found.places.get(one.name, [])
                if not any(place.offset < sample.ends.get((place.topic, place.partition), 0) for place in places):
                    yield f"committed {offset} of {partition} passed {one.name}, which was not published"


def _some(what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"{what}: {len(names)}, such as {', '.join(sorted(names)[:_SHOWN])}"


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
