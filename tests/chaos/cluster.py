"""Real Kafka brokers, one or three, each of which can be killed, stopped and frozen."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from moderation_service.bench.local_kafka import KAFKA_VERSION, Broker, free_port

CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"
_PRODUCTION = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "broker.session.timeout.ms": "6000",
}


class Node(Broker):
    """A broker of a cluster whose id is known, so that several can be of one."""

    def _java(self, *arguments: str) -> str:
        return CLUSTER_ID if arguments[-1] == "random-uuid" else super()._java(*arguments)


class Cluster:
    """`nodes` in the order of their numbers; `proxied` is the port that clients of the proxy are told."""

    def __init__(self, folder: Path, brokers: int, version: str, more: Mapping[str, str]) -> None:
        self.proxied = free_port()
        production: Mapping[str, str] = _PRODUCTION if brokers > 1 else {}
        self.nodes = [
            Node(
                folder / f"node-{number}",
                properties={"node.id": str(number), **production, **more},
                extra={"PROXIED": self.proxied} if brokers == 1 else None,
                version=version,
            )
            for number in range(1, brokers + 1)
        ]
        voters = ",".join(f"{number}@127.0.0.1:{node._controller_port}" for number, node in enumerate(self.nodes, 1))
        for node in self.nodes:
            node._properties["controller.quorum.voters"] = voters

    @property
    def address(self) -> str:
        return ",".join(node.address for node in self.nodes)

    def start(self) -> None:
        """All at once: none is ready before most of them are there."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(Broker.start, self.nodes))

    def mend(self) -> None:
        """Start those that a scenario which ended early has left down."""
        for node in self.nodes:
            if node._process is None:
                node.start()

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()


@contextmanager
def cluster(
    folder: Path, brokers: int, version: str = KAFKA_VERSION, more: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """`more` are properties of every broker."""
    made = Cluster(folder, brokers, version, more or {})
    try:
        made.start()
        yield made
    finally:
        made.stop()
