"""A seeded producer of another library than the service's: posts, second revisions, poison and deletions, at a rate."""

import base64
import json
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from confluent_kafka import KafkaError, Message, Producer

from moderation_service.contracts.dead_letter import PREFIX

Kind = Literal["post", "poison", "gone"]
MIX = {"text": 86, "picture": 6, "revision": 3, "poison": 4, "gone": 1}
POISONED = {"poison": 1}
GOOD = {"text": 1}
_PNG = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
).decode()
_TICK_S = 0.05


@dataclass(frozen=True, slots=True)
class Made:
    """A record to be sent, by a name that its output has too."""

    kind: Kind
    name: str
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Sent:
    """A record on the input topic."""

    kind: Kind
    name: str
    partition: int
    offset: int


class Traffic:
    """Sends from a thread of its own until `end`. `sent` is what the brokers acknowledged, in no order."""

    def __init__(
        self, address: str, topic: str, rng: random.Random, rate: float, mix: Mapping[str, int], text_bytes: int
    ) -> None:
        self.rate = rate
        self.mix = dict(mix)
        self.images: tuple[str, ...] = ()
        self.sent: list[Sent] = []
        self.failures: list[str] = []
        self._topic = topic
        self._rng = rng
        self._padding = " x" * (text_bytes // 2)
        self._count = 0
        self._ending = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": address,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "delivery.timeout.ms": 300_000,
                "topic.metadata.refresh.interval.ms": 1000,
                "socket.timeout.ms": 10_000,
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> list[Sent]:
        """Send no more; what the brokers have. Raises AssertionError where something could not be sent."""
        self._ending.set()
        self._thread.join()
        left = self._producer.flush(300)
        assert not left, f"{left} records were not acknowledged"
        assert not self.failures, self.failures[0]
        return self.sent

    def send(self, count: int) -> None:
        """At once, and wait until all are acknowledged."""
        for made in self._make(count):
            self._send(made)
        self._producer.flush(300)

    def _run(self) -> None:
        owed, last = 0.0, time.monotonic()
        while not self._ending.wait(_TICK_S):
            now = time.monotonic()
            owed, last = owed + (now - last) * self.rate, now
            for made in self._make(int(owed)):
                self._send(made)
            owed -= int(owed)
            self._producer.poll(0)

    def _send(self, made: Made) -> None:
        def acknowledged(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self.failures.append(f"{made.name}: {error}")
            else:
                self.sent.append(Sent(made.kind, made.name, message.partition(), message.offset()))

        while True:
            try:
                self._producer.produce(self._topic, made.value, made.key, on_delivery=acknowledged)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _make(self, count: int) -> Iterator[Made]:
        kinds, weights = list(self.mix), list(self.mix.values())
        for kind in self._rng.choices(kinds, weights, k=count):
            self._count += 1
            yield self._one(kind, self._count)

    def _one(self, kind: str, number: int) -> Made:
        key = f"{kind}-{number}"
        if kind == "gone":
            return Made("gone", key, key.encode(), None)
        if kind == "poison":
            return Made("poison", key, key.encode(), self._rng.choice(_POISON))
        fields: dict[str, object] = {"text": f"Message {number}, {self._rng.random()}{self._padding}"}
        if kind == "picture":
            fields["images"] = [{"data": _PNG}]
        if kind == "image":
            fields["images"] = [{"url": self._rng.choice(self.images)}]
        revision = 1
        if kind == "revision":  # of one key, so that their order can be seen
            key, revision = "edited", number
            fields["revision"] = revision
        return Made("post", post_name(key, revision), key.encode(), json.dumps({"post_id": key, **fields}).encode())


_POISON = (b"\x00\xff", b'{"post_id": 17}', b'{"post_id": "x", "text": "cut', b'{"post_id": "empty"}', b"[]")


def named(key: bytes, value: bytes | None) -> tuple[Kind, str]:
    """What `Made` says of a record, from the record."""
    if value is None:
        return "gone", key.decode()
    if key.startswith(b"poison-"):
        return "poison", key.decode()
    post = json.loads(value)
    return "post", post_name(post["post_id"], post.get("revision", 1))


def post_name(post_id: str, revision: int) -> str:
    """Of a post and of its verdict."""
    return f"{post_id}@{revision}"


def letter_of(headers: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """The reason headers of a dead letter, by their last words."""
    return {name.removeprefix(PREFIX): value.decode() for name, value in headers if name.startswith(PREFIX)}
