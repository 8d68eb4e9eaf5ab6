"""Brokers are killed, stopped, frozen, cut off and slow; a topic grows, and another one is away."""

import asyncio

from confluent_kafka.admin import AdminClient, NewPartitions

from moderation_service.kafka import topics
from tests.chaos.arena import PARTITIONS, Arena, Scenario
from tests.chaos.traffic import MIX
from tests.stream.proxy import proxy
from tests.stream.support import eventually

BEYOND_TRANSACTION_S = 14.0  # the workers' sessions and transactions last 10 s at most
ANSWER_S = 30.0


def broker_kills(times: int, *, clean: bool) -> Scenario:
    """One broker in turn is killed, or stopped cleanly, and started again."""

    async def scenario(arena: Arena) -> None:
        for number in range(times):
            await arena.until_done(100)
            node = arena.cluster.nodes[number % len(arena.cluster.nodes)]
            await asyncio.to_thread(node.stop if clean else node.kill)
            arena.did("clean stop" if clean else "broker SIGKILL")
            await asyncio.sleep(arena.rng.uniform(1, 8))
            await asyncio.to_thread(node.start)
        await arena.until_done(100)

    return scenario


def broker_frozen(times: int) -> Scenario:
    """SIGSTOP beyond session and transaction timeouts: connections stay open, and nothing answers."""

    async def scenario(arena: Arena) -> None:
        for number in range(times):
            await arena.until_done(100)
            node = arena.cluster.nodes[number % len(arena.cluster.nodes)]
            node.pause()
            try:
                await asyncio.sleep(BEYOND_TRANSACTION_S)
            finally:
                node.resume()
            arena.did("broker SIGSTOP")
        await arena.until_done(100)

    return scenario


def cuts(times: int) -> Scenario:
    """The workers' connections are cut, swallow what is sent, and are slow."""

    async def scenario(arena: Arena) -> None:
        (node,) = arena.cluster.nodes
        async with proxy("127.0.0.1", node.extra_ports["PROXIED"], arena.cluster.proxied) as line:
            for worker in [arena.start_worker() for _ in range(2)]:
                await worker.ready()
            arena.traffic.begin()
            for number in range(times):
                await arena.until_done(50)
                how = ("cut", "black hole", "slow")[number % 3]
                if how == "cut":
                    line.cut()
                elif how == "black hole":
                    line.swallow = True
                else:
                    line.delay_s = 0.3
                await asyncio.sleep(arena.rng.uniform(1, 12))
                line.delay_s = 0.0
                line.mend()
                arena.did(how)
            await arena.until_done(100)
            sent = await asyncio.to_thread(arena.traffic.end)
            await arena.until_all_done(sent)
            for worker in list(arena.workers):
                await arena.stop_worker(worker)

    return scenario


async def grows(arena: Arena) -> None:
    """The input topic gains partitions twice."""
    admin = AdminClient({"bootstrap.servers": arena.settings.bootstrap_servers})
    for more in (2, 4):
        await arena.until_done(200)
        wanted = NewPartitions(arena.settings.input_topic, PARTITIONS + more)
        for future in admin.create_partitions([wanted]).values():
            await asyncio.to_thread(future.result, ANSWER_S)
        arena.did("growth")
        await eventually(
            lambda more=more: len(arena.watch.committed) == PARTITIONS + more,
            "the new partitions have committed offsets",
            90,
        )


async def letters_out_of_reach(arena: Arena) -> None:
    """There is no dead-letter topic for a while: partitions hold and say so, and nothing is passed by."""
    admin, topic = (
        AdminClient({"bootstrap.servers": arena.settings.bootstrap_servers}),
        arena.settings.dead_letter_topic,
    )
    for future in admin.delete_topics([topic]).values():
        await asyncio.to_thread(future.result, ANSWER_S)
    arena.traffic.mix = dict(MIX)
    arena.did("topic away")

    async def said() -> bool:
        return any(["kafka" in await worker.not_ready() for worker in arena.workers])

    await eventually(said, "a worker's readiness names kafka", 60)
    await asyncio.sleep(5)
    await topics.create(arena.settings, PARTITIONS, 1)
    await arena.until_done(100)
