"""docker-compose.yml against the compose specification, and each name in it against the code and the tree."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from moderation_service.kafka.topics import PARTITIONS
from moderation_service.settings import ConsoleSettings, KafkaSettings, OpsSettings, Settings
from tests.conftest import skip_or_fail
from tests.deploy.files import DEPLOY_DOC, ROOT, SERVICE, Started, compose, in_compose, parse

STARTED = [pytest.param(started, id=started.where) for started in in_compose()]
SCHEMA = json.loads((Path(__file__).parent / "schemas" / "compose-spec.json").read_text())


def workers() -> dict[str, dict]:
    return {name: service for name, service in compose()["services"].items() if name.startswith("worker")}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with the secrets of a first start."""
    (tmp_path / "scripts").mkdir()
    shutil.copy2(ROOT / "scripts/up.sh", tmp_path / "scripts")
    subprocess.run([tmp_path / "scripts/up.sh", "--secrets-only"], check=True)
    return tmp_path


def test_the_file_is_as_the_compose_specification_has_it() -> None:
    jsonschema.validate(compose(), SCHEMA)


def test_the_specification_refuses_a_name_that_it_does_not_know() -> None:
    with pytest.raises(jsonschema.ValidationError, match="helthcheck"):
        jsonschema.validate({"services": {"worker": {"image": "a", "helthcheck": {}}}}, SCHEMA)


@pytest.mark.parametrize("started", STARTED)
def test_its_commands_are_commands(started: Started) -> None:
    parse(started.arguments)


@pytest.mark.parametrize("started", STARTED)
def test_its_settings_are_settings(started: Started, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = started.settings(monkeypatch, tmp_path)
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert "INSIDE://kafka:9092" in compose()["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]


@pytest.mark.parametrize("started", STARTED)
def test_each_path_in_its_settings_is_mounted(started: Started) -> None:
    assert not started.unmounted()


def test_a_profile_has_one_worker_and_cpu_is_the_default() -> None:
    profiles = {name: service["profiles"] for name, service in workers().items()}
    own = {"worker": ["cpu"], "worker-gpu": ["gpu"], "worker-gpu-1": ["gpu-1"], "worker-vllm": ["vllm"]}
    assert profiles == own
    assert "COMPOSE_PROFILES=cpu" in (ROOT / ".env").read_text().splitlines()


def test_what_is_mounted_from_the_tree_is_there() -> None:
    mounted = {
        volume.split(":")[0]
        for service in compose()["services"].values()
        for volume in service.get("volumes", ())
        if volume.startswith("./")
    }
    assert mounted - {"./models/GLM-4.6V-Flash"} == {path for path in mounted if (ROOT / path).exists()}


def test_secrets_are_files_that_git_does_not_know_and_the_owners_own_are_in_the_docs(made: Path) -> None:
    for secret in compose()["secrets"].values():
        path = secret["file"].removeprefix("./")
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0, path
        assert (made / path).is_file() or path in DEPLOY_DOC
    for name, service in compose()["services"].items():
        for variable in service.get("environment", {}):
            assert not re.search(r"PASSWORD$|SECRET$|API_KEY$|TOKEN$", variable), (name, variable)


def test_a_first_start_needs_no_secret_by_hand(made: Path) -> None:
    services = [one for one in compose()["services"].values() if one.get("profiles", ["cpu"]) == ["cpu"]]
    wanted = {compose()["secrets"][name]["file"] for one in services for name in one.get("secrets", ())}
    assert {path for path in wanted if not (made / path).read_text().strip()} == set()
    password = (made / "secrets/postgres_password").read_text().strip()
    url = (made / "secrets/database_url").read_text().strip()
    assert url == f"postgresql://moderation:{password}@postgres/moderation"
    assert (made / "secrets").stat().st_mode & 0o777 == 0o700


def test_later_starts_keep_the_secrets(made: Path) -> None:
    before = {path: path.read_text() for path in (made / "secrets").iterdir()}
    (made / "secrets/grafana_password").chmod(0o644)
    (made / "secrets/grafana_password").write_text("mine")
    subprocess.run([made / "scripts/up.sh", "--secrets-only"], check=True)
    after = {path: path.read_text() for path in (made / "secrets").iterdir()}
    assert after == {**before, made / "secrets/grafana_password": "mine"}


def test_each_image_has_a_version() -> None:
    for name, service in compose()["services"].items():
        assert re.search(r":(v?\d[\w.-]+|cpu|gpu)$", service["image"]), name


def test_an_image_of_ours_is_built_with_its_flavour() -> None:
    for service in compose()["services"].values():
        if service["image"].startswith(f"{SERVICE}:"):
            assert service["build"]["args"] == {"FLAVOUR": service["image"].rpartition(":")[2]}


def test_our_containers_are_contained() -> None:
    for service in [*workers().values(), compose()["services"]["topics"], compose()["services"]["console"]]:
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_nothing_is_open_to_other_machines() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_a_worker_has_time_to_drain_before_it_is_killed() -> None:
    for service in workers().values():
        assert int(service["stop_grace_period"].removesuffix("s")) > KafkaSettings().drain_timeout_s + 10


def test_the_topics_are_made_before_a_worker_starts() -> None:
    made = compose()["services"]["topics"]["command"]
    assert made[made.index("--partitions") + 1] == str(PARTITIONS)
    for service in workers().values():
        assert service["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def test_prometheus_looks_where_the_workers_and_the_console_are() -> None:
    config = yaml.safe_load((ROOT / "compose" / "prometheus.yml").read_text())
    job, console = config["scrape_configs"]
    assert console["static_configs"] == [{"targets": [f"console:{ConsoleSettings().ops_port}"]}]
    (discovery,) = job["dns_sd_configs"]
    assert discovery["port"] == OpsSettings().port
    for service in workers().values():
        assert service["networks"]["default"]["aliases"] == discovery["names"]
    volumes = [volume.split(":")[1] for volume in compose()["services"]["prometheus"]["volumes"]]
    assert set(config["rule_files"]) <= set(volumes)


def test_promtool_takes_its_configuration(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        skip_or_fail("promtool is not there (Debian: prometheus)")
    text = (ROOT / "compose" / "prometheus.yml").read_text()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        text.replace("/etc/prometheus/rules.yaml", str(ROOT / "observability" / "prometheus" / "rules.yaml"))
    )
    done = subprocess.run([str(promtool), "check", "config", str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_grafanas_boards_use_the_data_source_that_it_is_given() -> None:
    (source,) = yaml.safe_load((ROOT / "compose" / "grafana" / "datasources.yml").read_text())["datasources"]
    boards = list((ROOT / "observability" / "grafana").glob("*.json"))
    assert boards
    for board in boards:
        used = set(re.findall(r'"type": "prometheus",\s*"uid": "([^"]+)"', board.read_text(encoding="utf-8")))
        assert used <= {source["uid"], "${datasource}"}, board.name
    (provider,) = yaml.safe_load((ROOT / "compose" / "grafana" / "dashboards.yml").read_text())["providers"]
    mounts = {volume.split(":")[1] for volume in compose()["services"]["grafana"]["volumes"]}
    assert provider["options"]["path"] in mounts


def test_vllm_serves_what_the_worker_asks_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (worker,) = (started for started in in_compose() if started.where == "worker-vllm")
    (command,) = compose()["services"]["vllm"]["command"]
    assert_serves(command, worker.settings(monkeypatch, tmp_path))


def assert_serves(command: str, settings: Settings) -> None:
    """A `vllm serve` and the worker's settings mean one model, one context, one dtype, as many images."""
    served = dict(re.findall(r"--([\w-]+) ('[^']*'|[^\s-]\S*)", command))
    assert served["served-model-name"] == settings.engine.model
    assert served["dtype"] == settings.engine.dtype
    assert int(served["max-model-len"]) >= settings.engine.max_context_tokens
    limit = json.loads(served["limit-mm-per-prompt"].strip("'"))
    assert limit["image"] >= settings.media.max_images * settings.media.max_frames
