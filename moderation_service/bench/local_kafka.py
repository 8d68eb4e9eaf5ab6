"""A real Apache Kafka without Docker: its jars from Maven, one broker in KRaft combined mode.

For tests and benchmarks; `python -m moderation_service.bench.local_kafka` runs one until Ctrl-C.
"""

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from moderation_service.errors import Misconfigured

KAFKA_VERSION = "4.1.0"
DEFAULT_PORT = 9092
READY_TIMEOUT_S = 60.0
_PORTS = range(20_000, 32_000)  # systems take those of outgoing connections above
_POM = Path(__file__).with_name("local_kafka.pom.xml")
_HEAP = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")
_LOG4J = """<Configuration status="WARN"><Appenders>
<Console name="out"><PatternLayout pattern="%d %p %c %m%n"/></Console>
</Appenders><Loggers><Root level="WARN"><AppenderRef ref="out"/></Root>
<Logger name="kafka.server.KafkaRaftServer" level="INFO"/></Loggers></Configuration>
"""
_READY = "Kafka Server started"


def missing_tools(version: str = KAFKA_VERSION) -> str | None:
    """Why a broker can't be started here, or None."""
    absent = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if absent == ["mvn"] and _libs_folder(version).is_dir():
        return None
    return f"{' and '.join(absent)} not found (Java 17 and Maven run the local Kafka)" if absent else None


def kafka_libs(version: str = KAFKA_VERSION) -> Path:
    """The folder with the jars of a Kafka release, fetched through Maven the first time.

    Raises Misconfigured where Maven is missing or fails.
    """
    libs = _libs_folder(version)
    if libs.is_dir():
        return libs
    if reason := missing_tools(version):
        raise Misconfigured(reason)
    libs.parent.mkdir(parents=True, exist_ok=True)
    with (libs.parent / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=libs.parent) as scratch:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Maven's own folder is not for two at a time
        if libs.is_dir():
            return libs
        fresh = Path(scratch) / "libs"
        goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}")
        command = ["mvn", "-q", "-B", "-f", str(_POM), f"-Dkafka.version={version}", *goal]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - all of it is ours
        if done.returncode:
            msg = f"Maven could not fetch Kafka's jars: {(done.stdout + done.stderr).strip()[-500:]}"
            raise Misconfigured(msg)
        fresh.rename(libs)
    return libs


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now, and that no outgoing connection is given meanwhile."""
    chance = random.SystemRandom()
    while True:
        port = chance.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Broker:
    """One broker with its own data folder; it can be stopped, killed, paused, and started again on the same port."""

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        extra: Mapping[str, int] | None = None,
        *,
        version: str = KAFKA_VERSION,
    ) -> None:
        """Nothing runs yet. `properties` go over the defaults of server.properties.

        `extra` are listeners by name that tell clients another port than the one they listen on (`extra_ports`),
        where a proxy stands in front.
        """
        self.folder = folder
        self._version = version
        self._advertised = dict(extra or {})
        self.extra_ports = {name: free_port() for name in self._advertised}
        self.port = port or free_port()
        self._controller_port = free_port()
        self._properties = dict(properties or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """What clients connect to."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The Java process. Raises RuntimeError when none runs."""
        if self._process is None:
            msg = "the broker is not running"
            raise RuntimeError(msg)
        return self._process.pid

    def start(self) -> Self:
        """Start and wait until clients are served. Raises Misconfigured with the end of its log when it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config, log = self.folder / "server.properties", self.folder / "broker.log"
        (self.folder / "log4j2.xml").write_text(_LOG4J)
        config.write_text("".join(f"{name}={value}\n" for name, value in self._all_properties().items()))
        if not (self.folder / "data" / "meta.properties").exists():
            identity = self._java("kafka.tools.StorageTool", "random-uuid").strip()
            self._java("kafka.tools.StorageTool", "format", "-t", identity, "-c", str(config))
        with log.open("wb") as out:
            command = [*self._command(*_HEAP), "kafka.Kafka", str(config)]
            self._process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)  # noqa: S603 - as above
        self._wait_until_ready(log)
        return self

    def stop(self) -> None:
        """End it cleanly, by force after 15 s."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(how)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait_until_ready(self, log: Path) -> None:
        assert self._process is not None  # noqa: S101
        deadline = time.monotonic() + READY_TIMEOUT_S
        while _READY not in log.read_text(errors="replace"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                msg = f"Kafka did not start; the end of {log}: {log.read_text(errors='replace')[-1000:]}"
                raise Misconfigured(msg)
            time.sleep(0.05)

    def _command(self, *options: str) -> list[str]:
        log4j = f"-Dlog4j.configurationFile={self.folder / 'log4j2.xml'}"
        return ["java", *options, log4j, "-cp", f"{kafka_libs(self._version)}/*"]

    def _java(self, *arguments: str) -> str:
        command = [*self._command("-XX:TieredStopAtLevel=1"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - as above
        if done.returncode:
            msg = f"Kafka's storage tool failed: {(done.stdout + done.stderr).strip()[-500:]}"
            raise Misconfigured(msg)
        return done.stdout

    def _all_properties(self) -> dict[str, str]:
        listeners = {"PLAINTEXT": self.port, **self.extra_ports}
        controller = f"127.0.0.1:{self._controller_port}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"{_addresses(listeners)},CONTROLLER://{controller}",
            "advertised.listeners": _addresses(listeners | self._advertised),
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in [*listeners, "CONTROLLER"]),
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "num.network.threads": "2",
            "num.io.threads": "2",
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.num.partitions": "5",
            "log.cleaner.dedupe.buffer.size": "16777216",
            **self._properties,
        }


@contextlib.contextmanager
def local_kafka(folder: Path | None = None, port: int | None = None, *, version: str = KAFKA_VERSION) -> Iterator[str]:
    """Run a broker for the block and give its address; its data go with it unless a `folder` is given."""
    with contextlib.ExitStack() as stack:
        if folder is None:
            scratch = tempfile.TemporaryDirectory(prefix="kafka-", ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(scratch))
        broker = Broker(folder, port, version=version)
        stack.callback(broker.stop)
        yield broker.start().address


def _addresses(listeners: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items())


def _libs_folder(version: str) -> Path:
    return Path.home() / ".cache" / "moderation-service" / f"kafka-{version}"


def _main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PORT
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt), local_kafka(port=port) as address:
        print(f"Apache Kafka {KAFKA_VERSION} at {address}; Ctrl-C ends it", flush=True)  # noqa: T201
        signal.pause()


if __name__ == "__main__":
    _main()
