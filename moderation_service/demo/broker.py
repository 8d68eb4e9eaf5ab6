"""The embedded broker of a first run: librdkafka's mock cluster, in this process.

It speaks Kafka's protocol to one consumer and knows no transactions: with it, `delivery` is `at_least_once`.
It creates topics by itself, and trims a partition past a few MiB: keep posts small here.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

DEMO_TOPICS = {
    f"{kind}_topic": f"moderation.demo.{kind}"
    for kind in ("input", "output", "dead_letter", "review", "audit", "banks", "escalation")
}
"""The demo's own topics, by setting."""
_ANSWER_TIMEOUT_S = 10.0


@contextmanager
def embedded_broker(topics: Iterable[str] = ()) -> Iterator[str]:
    """Give the broker's address, with `topics` made there; it is gone with the block."""
    from confluent_kafka import Producer  # noqa: PLC0415 - of the extra `local`

    cluster = Producer({"bootstrap.servers": "embedded:1", "test.mock.num.brokers": 1, "log_level": 0})
    try:
        (broker,) = cluster.list_topics(timeout=_ANSWER_TIMEOUT_S).brokers.values()
        for topic in topics:
            cluster.list_topics(topic, timeout=_ANSWER_TIMEOUT_S)  # to ask for a topic is to make it
        yield f"{broker.host}:{broker.port}"
    finally:
        del cluster
