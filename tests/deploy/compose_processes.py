"""`make compose-check`: the services of docker-compose.yml as processes, without Docker. Root on Linux only.

Each is started by its own command once what it depends on is healthy, in namespaces in which names, ports and paths are
as in its container. Then the page on Compose is followed: `make up`, and its request for a verdict, with a `docker`
on the path that reaches the processes. Images without a program here (Grafana, the Kafka UI) are named and left out.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.postgres import programs
from moderation_service.bench.local_kafka import kafka_libs
from tests.deploy.files import ROOT, SERVICE, compose

FOLDER = Path("/run/compose")
UP_WITHIN_S = 120.0
DOCKER = f"""#!{sys.executable}
import json, os, sys
command = [part for part in sys.argv[1:] if part != "-T"]
if command[:2] == ["compose", "exec"]:
    os.execvpe(command[3], command[3:], json.load(open(f"{FOLDER}/{{command[2]}}.json")))
assert command[:2] == ["compose", "up"], command  # which it is
"""
API_VERSIONS = f"""#!{sys.executable}
import asyncio, sys
from moderation_service.kafka.clients import wait_for_broker
from moderation_service.settings import KafkaSettings
asyncio.run(wait_for_broker(KafkaSettings(bootstrap_servers=sys.argv[2])))
"""
KAFKA = """
env | sed -n 's/^KAFKA_//p' | while IFS== read -r name value; do
  echo "$(echo "$name" | tr A-Z_ a-z.)=$value"; done > server.properties
java -cp "$JARS" kafka.tools.StorageTool format --cluster-id $(java -cp "$JARS" kafka.tools.StorageTool random-uuid) \
  --config server.properties && exec java -Xmx512m -cp "$JARS" kafka.Kafka server.properties
"""
POSTGRES = """
initdb -D data -U "$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" -A scram-sha-256 > log
echo 'host all all all scram-sha-256' >> data/pg_hba.conf
export PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
pg_ctl -D data -w -o "-c listen_addresses= -k $PWD" start && createdb -h "$PWD" -U "$POSTGRES_USER" "$POSTGRES_DB"
pg_ctl -D data -w stop && exec postgres -D data -c listen_addresses='*' -k "$PWD"
"""
Service = Mapping[str, Any]


def main() -> int:
    """Start everything, do as the page says, stop everything; the exit code of that."""
    services = {name: one for name, one in compose()["services"].items() if one.get("profiles", ["cpu"]) == ["cpu"]}
    conditions = {(needed, how["condition"]) for one in services.values() for needed, how in _needs(one).items()}
    _make_namespace(services)
    running = dict[str, subprocess.Popen[bytes]]()
    try:
        for name in _in_order(services):
            for needed, how in _needs(services[name]).items():
                if how["condition"] == "service_healthy":
                    _until_healthy(needed, services[needed])
            if (started := _command(services[name])) is None:
                _say(f"{name}: {services[name]['image']} has no program here; left out")
                continue
            _say(f"{name}: {shlex.join(services[name].get('command', ()))}")
            running[name] = subprocess.Popen(started, env=_environment(services[name]), cwd=_home(name))
            if (name, "service_completed_successfully") in conditions:
                assert running.pop(name).wait(UP_WITHIN_S) == 0, f"{name} failed"
        for name in running:
            _until_healthy(name, services[name])
        page = (ROOT / "docs/how-to/deploy-one-machine.md").read_text()
        asked = page.partition("Ask for a verdict:")[2].split("```")[1].removeprefix("sh")
        command = ["bash", "-ec", f"scripts/up.sh; {asked}"]
        return subprocess.run(command, cwd=FOLDER, check=False, env=os.environ | {"PATH": _path()}).returncode
    finally:
        for process in reversed(running.values()):
            process.terminate()
            process.wait(30)


def _needs(service: Service) -> Mapping[str, Any]:
    return service.get("depends_on", {})


def _in_order(services: Mapping[str, Service]) -> Iterator[str]:
    """Each service behind those that it depends on."""
    waiting = dict(services)
    while waiting:
        ready = [name for name, one in waiting.items() if not _needs(one).keys() & waiting]
        for name in ready:
            yield name
            del waiting[name]


def _make_namespace(services: Mapping[str, Service]) -> None:
    """Loopback with the services' names, the project's folder, and what is mounted in each container.

    What is written to /etc, /opt, /run and /var/lib is gone with the namespace.
    """
    _run("ip", "link", "set", "lo", "up")
    _run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for shadowed in ("/etc", "/opt", "/var/lib"):
        layer = Path("/run/layers") / shadowed.replace("/", "_")
        (layer / "work").mkdir(parents=True)
        (layer / "upper").mkdir()
        options = f"lowerdir={shadowed},upperdir={layer}/upper,workdir={layer}/work"
        _run("mount", "-t", "overlay", "overlay", "-o", options, shadowed)
    Path("/etc/hosts").write_text(
        "".join(f"127.0.0.1 {name}\n" for name in ("localhost", os.uname().nodename, *services))
    )
    FOLDER.mkdir()
    for path in ("scripts", "policies", "compose", "observability"):
        (FOLDER / path).symlink_to(ROOT / path)
    _run(FOLDER / "scripts/up.sh", "--secrets-only")
    _executable(FOLDER / "bin/docker", DOCKER)
    _executable(Path("/opt/kafka/bin/kafka-broker-api-versions.sh"), API_VERSIONS)
    for name, service in services.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(_environment(service)))
        for volume in service.get("volumes", ()):
            source, target = volume.split(":")[:2]
            _show(FOLDER / source if source.startswith(".") else None, Path(target))
        for secret in service.get("secrets", ()):
            _show(FOLDER / compose()["secrets"][secret]["file"], Path("/run/secrets") / secret)


def _show(source: Path | None, target: Path) -> None:
    """What a container sees at a path; an empty folder for a volume."""
    if source is None or source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    if source:
        _run("mount", "--bind", source.resolve(), target)


def _command(service: Service) -> list[str] | None:
    """As the image starts it; None without a program for it."""
    given = list(service.get("command", ()))
    match service["image"].rpartition(":")[0]:
        case image if image == SERVICE:
            return ["moderation", *(given or ["run"])]
        case "apache/kafka":
            return ["sh", "-c", KAFKA]
        case "postgres":
            return ["runuser", "-u", "postgres", "--", "sh", "-ec", POSTGRES]
        case "prom/prometheus":
            return ["prometheus", *given]
    return None


def _environment(service: Service) -> dict[str, str]:
    kept = {
        name: os.environ[name] for name in ("HF_HUB_OFFLINE", "OMP_NUM_THREADS", "PYTHONPATH") if name in os.environ
    }
    given = {name: str(value) for name, value in service.get("environment", {}).items()}
    return {**kept, "PATH": _path(), "HOME": "/tmp", "JARS": f"{kafka_libs()}/*", **given}


def _path() -> str:
    return f"{FOLDER}/bin:{Path(sys.executable).parent}:{programs()}:{os.environ['PATH']}"


def _home(name: str) -> Path:
    """A folder of the service's own."""
    folder = Path("/var/lib/services") / name
    folder.mkdir(parents=True)
    if name == "postgres":
        shutil.chown(folder, "postgres")
    return folder


def _until_healthy(name: str, service: Service) -> None:
    """Wait until its health check passes: its own, or the image's. Raises AssertionError if it takes too long."""
    check = service.get("healthcheck", {}).get("test")
    if check is None and service["image"].startswith(f"{SERVICE}:"):
        found = re.search(
            r"^HEALTHCHECK .*?CMD (\[.*?\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL
        )
        assert found
        check = ["CMD", *json.loads(found[1])]
    until = time.monotonic() + UP_WITHIN_S
    while check and subprocess.run(check[1:], env=_environment(service), capture_output=True, check=False).returncode:
        assert time.monotonic() < until, f"{name} is not healthy"
        time.sleep(0.2)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
