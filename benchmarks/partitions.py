"""One worker opens many partitions over TLS, with the system's CAs."""

import asyncio
import secrets
import ssl
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.certificates import Authority
from benchmarks.command_line import main
from benchmarks.scale import post_to_each
from benchmarks.worker import logging_to_a_file, processed, until, working
from moderation_service.bench.local_kafka import Broker, free_port
from moderation_service.bench.machine import peak_memory
from moderation_service.bench.open_loop import topics_of
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import metrics

PATIENCE_S = 300.0
_TICK_S = 0.01


def run(*, partitions: int = 200, idle_s: float = 60.0, tls: bool = True) -> dict[str, Any]:
    """Publish a post to each partition, then start one worker, exactly once, and wait for a verdict of each.

    Args:
        partitions: Of the input topic; each has a transactional producer, with TLS connections of its own.
        idle_s: Seconds without posts afterwards; `ratio.idle_cpu` is the CPU's share of them.
        tls: False for a plain connection, to compare.
    """
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="partitions-", ignore_cleanup_errors=True))
        )
        broker, security = _broker(folder) if tls else (Broker(folder / "broker"), {})
        stack.callback(broker.stop)
        stack.enter_context(logging_to_a_file())
        broker.start()
        return asyncio.run(_measure(broker.address, security, partitions, idle_s)) | {"tls": tls}


async def _measure(address: str, security: Mapping[str, Any], partitions: int, idle_s: float) -> dict[str, Any]:
    plain = await topics_of(address, f"bench-{secrets.token_hex(4)}", "worker", partitions)
    await post_to_each(plain, partitions)
    kafka = KafkaSettings.model_validate({**plain.model_dump(exclude_defaults=True), **security})
    stalls = Stalls()
    watching = asyncio.create_task(stalls.watch())
    begun, cpu = time.perf_counter(), time.process_time()
    try:
        async with asyncio.timeout(PATIENCE_S), working(kafka) as worker:
            await until(lambda: processed() >= partitions or worker.done())
            opened = {
                "open_s": round(time.perf_counter() - begun, 1),
                "open_cpu_s": round(time.process_time() - cpu, 1),
                "worst_stall_s": round(stalls.worst, 2),
                "rebalances": metrics.REBALANCES.labels("assigned")._value.get(),  # noqa: SLF001 - no public way
            }
            stalls.worst, cpu = 0.0, time.process_time()
            await asyncio.sleep(idle_s)
            idle = {
                "ratio": {"idle_cpu": round((time.process_time() - cpu) / idle_s, 3)},
                "idle_worst_stall_s": round(stalls.worst, 2),
            }
    finally:
        watching.cancel()
    return {"partitions": partitions, **opened, **idle, "peak_memory_bytes": peak_memory(), "seed": 1}


class Stalls:
    """The longest time that the event loop let a timer wait."""

    worst = 0.0

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(_TICK_S)
            self.worst = max(self.worst, time.perf_counter() - begun - _TICK_S)


def _broker(folder: Path) -> tuple[Broker, dict[str, Any]]:
    """A broker with a TLS listener beside the plain one, and what a client needs for it: the system's CAs and ours."""
    authority = Authority(folder, "authority")
    server = authority.sign("server", "DNS:localhost")
    trusted, system = folder / "trusted.pem", ssl.get_default_verify_paths().cafile
    trusted.write_bytes((Path(system).read_bytes() if system else b"") + authority.certificate.read_bytes())
    ports = {name: free_port() for name in ("PLAINTEXT", "TLS", "CONTROLLER")}
    addresses = [f"{name}://localhost:{port}" for name, port in ports.items()]
    properties = {
        "listeners": ",".join(addresses),
        "advertised.listeners": ",".join(addresses[:2]),
        "controller.quorum.voters": f"1@localhost:{ports['CONTROLLER']}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,TLS:SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(server.both),
    }
    security = {
        "bootstrap_servers": f"localhost:{ports['TLS']}",
        "security_protocol": "SSL",
        "ssl_cafile": trusted,
    }
    return Broker(folder / "broker", ports["PLAINTEXT"], properties), security


if __name__ == "__main__":
    main(run)
