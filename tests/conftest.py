"""What many tests share."""

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from moderation_service.bench.local_kafka import KAFKA_VERSION, free_port, local_kafka, missing_tools
from tests.timing import Clock

_DOCKER_READY_S = 60.0


def _settrace(function: Callable[..., Any] | None, install: Callable[..., None] = sys.settrace) -> None:
    """Begin to trace this thread, as coverage does in each.

    Python 3.11 refuses it while another thread is at it, and the thread that is refused would never run.
    """
    for _ in range(1000):
        try:
            install(function)
        except RuntimeError:
            time.sleep(0.001)
        else:
            return
    install(function)


if sys.version_info < (3, 12):
    sys.settrace = _settrace


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Apache Kafka: given, in Docker, or from its jars; started once a test run."""
    if given := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield given
    elif _docker_answers():
        yield from _kafka_in_docker()
    elif reason := missing_tools():
        skip_or_fail(reason)
    else:
        folder = tmp_path_factory.mktemp("kafka")
        with local_kafka(folder) as address:
            yield address
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _logs_as_at_first(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no test's log settings reach another: a logger that was cached would keep them."""
    configure = structlog.configure

    def uncached(**settings: Any) -> None:
        configure(**{**settings, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", uncached)
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> Clock:
    """Stands still until a test sets it."""
    return Clock()


@pytest.fixture
def unique() -> str:
    """A name that no other test uses, for topics and groups."""
    return f"t{uuid.uuid4().hex[:10]}"


def skip_or_fail(reason: str) -> None:
    """Skip with the reason; where `CI` is true a skipped test is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _docker_answers() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    asked = subprocess.run([docker, "info"], capture_output=True, check=False, timeout=20)
    return asked.returncode == 0


def _kafka_in_docker() -> Iterator[str]:
    port, name = free_port(), f"moderation-test-{uuid.uuid4().hex[:8]}"
    environment = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    }
    options = [part for key, value in environment.items() for part in ("-e", f"{key}={value}")]
    command = ["docker", "run", "-d", "--rm", "--name", name, "-p", f"{port}:{port}", *options]
    subprocess.run([*command, f"apache/kafka:{KAFKA_VERSION}"], check=True, capture_output=True)
    try:
        deadline = time.monotonic() + _DOCKER_READY_S
        while "Kafka Server started" not in _docker_logs(name):
            assert time.monotonic() < deadline, "Kafka in Docker did not start"
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run(["docker", "rm", "-f", name], check=False, capture_output=True)


def _docker_logs(name: str) -> str:
    done = subprocess.run(["docker", "logs", name], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
