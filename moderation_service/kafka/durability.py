"""Durability of a topic: how many replicas have a record before it is acknowledged, and who may lead after a crash.

The producers ask for `acks=all`. That is worth no more than the topic's `min.insync.replicas`.
"""

from collections.abc import Iterator, Mapping

REPLICAS = 3  # wanted where the cluster has as many brokers
MIN_INSYNC = "min.insync.replicas"
UNCLEAN = "unclean.leader.election.enable"
_ENOUGH = 2


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
