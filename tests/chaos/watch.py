"""Looks, while the workers work, at what the group has committed, and then at where the output topics end."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from moderation_service.settings import KafkaSettings
from tests.stream.support import eventually

_EVERY_S = 0.4
_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Committed offsets by input partition; ends of the output partitions, seen after those."""

    committed: Mapping[int, int]
    ends: Mapping[tuple[str, int], int]


class Watch:
    """`samples` grows from a thread of its own; a broker that does not answer costs a sample."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.samples: list[Sample] = []
        self._settings = settings
        self._ending = threading.Event()
        self._client = Consumer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "group.id": settings.group,  # never joined: offsets are asked for alone
                "isolation.level": "read_uncommitted",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    async def one_more(self) -> None:
        """Wait for a look that begins after now."""
        seen = len(self.samples)
        await eventually(lambda: len(self.samples) >= seen + 2, "a look at the committed offsets")

    def end(self) -> list[Sample]:
        self._ending.set()
        self._thread.join()
        self._client.close()
        return self.samples

    @property
    def committed(self) -> Mapping[int, int]:
        """By partition, as last seen."""
        return self.samples[-1].committed if self.samples else {}

    def _run(self) -> None:
        while not self._ending.wait(_EVERY_S):
            try:
                self.samples.append(self._look())
            except KafkaException:
                continue

    def _look(self) -> Sample:
        settings = self._settings
        inputs = [TopicPartition(settings.input_topic, number) for number in self._partitions(settings.input_topic)]
        committed = {one.partition: one.offset for one in self._client.committed(inputs, timeout=_PATIENCE_S)}
        ends = {}
        for topic in (settings.output_topic, settings.dead_letter_topic):
            for number in self._partitions(topic):
                _, end = self._client.get_watermark_offsets(TopicPartition(topic, number), timeout=_PATIENCE_S)
                ends[topic, number] = end
        return Sample({number: offset for number, offset in committed.items() if offset >= 0}, ends)

    def _partitions(self, topic: str) -> list[int]:
        return list(self._client.list_topics(topic, timeout=_PATIENCE_S).topics[topic].partitions)
