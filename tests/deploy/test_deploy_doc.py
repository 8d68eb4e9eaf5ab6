"""What docs/how-to/deploy-*.md tell a stranger to type, to set and to look at is there."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from moderation_service.settings import PREFIX, BareSettings, Settings
from tests.conftest import skip_or_fail
from tests.deploy.chart import CHART, OLDEST, chart
from tests.deploy.files import DEPLOY_DOC, ROOT, compose, parse, render, template_of, tool
from tests.test_doc_commands import commands

YAML = re.findall(r"```yaml\n(.*?)```", DEPLOY_DOC, re.DOTALL)
HELM = [
    words
    for words in commands(ROOT / "docs/how-to/deploy-kubernetes.md")
    if words[0] == "helm" and words[1] in {"install", "upgrade", "template"}
]
COMMANDS = [
    *re.findall(r"(?<!-n )\bmoderation ([a-z][^`'\n]*)", DEPLOY_DOC),
    *re.findall(r"moderation-service:\w+ ([a-z][^\n]*)", DEPLOY_DOC),
    *re.findall(r"compose run --rm (?:-v \S+ )?worker ([^\n`]+)", DEPLOY_DOC),
]
FOLDERS = ("k8s/", "charts/", "values/", "observability/", "policies/", "compose/", "moderation_service/")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_the_service_knows(command: str) -> None:
    parse(tuple(shlex.split(command)))


def test_publishing_creating_topics_checking_policies_and_letting_people_in_are_among_them() -> None:
    wanted = {"run", "publish", "verdicts", "topics", "policies", "users", "keys"}
    assert wanted == {shlex.split(command)[0] for command in COMMANDS}


def test_a_setting_is_one_that_the_service_knows() -> None:
    names = set(re.findall(rf"{PREFIX}(\w+)", DEPLOY_DOC))
    assert names
    for name in names:
        section, _, field = name.lower().partition("__")
        fields = Settings.model_fields[section].annotation.model_fields  # type: ignore[union-attr]
        assert field.removesuffix("_file") in fields, name


def test_a_path_is_one_of_the_tree() -> None:
    named = {word.strip("`.,:;") for word in DEPLOY_DOC.split()}
    paths = {word for word in named if word.startswith(FOLDERS)}
    assert len(paths) > 10
    assert not [path for path in paths if not ((ROOT / path).exists() or (CHART / path).exists())]


def test_the_ports_and_profiles_are_those_of_the_compose_file() -> None:
    published = {port.split(":")[1] for service in compose()["services"].values() for port in service.get("ports", ())}
    said = re.findall(r"^\| (\d{4}(?:, \d{4})*) \|", DEPLOY_DOC, re.MULTILINE)
    assert {port for cell in said for port in cell.split(", ")} == published
    profiles = {profile for service in compose()["services"].values() for profile in service.get("profiles", ())}
    assert profiles == set(re.findall(r"--profile ([\w-]+)", DEPLOY_DOC)) | {"cpu"}


def test_an_overlay_of_your_own_changes_image_settings_and_scaling(tmp_path: Path) -> None:
    for folder in ("k8s", "policies", "observability"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (overlay,) = (block for block in YAML if "kind: Kustomization" in block)
    (tmp_path / "k8s" / "mine").mkdir()
    (tmp_path / "k8s" / "mine" / "kustomization.yaml").write_text(overlay.replace("../k8s/", "../"))
    made = {(one["kind"], one["metadata"]["name"].partition("-")[0]): one for one in render(tmp_path, "mine")}
    assert made["ScaledObject", "worker"]["spec"]["maxReplicaCount"] == 12
    settings = made["ConfigMap", "settings"]
    assert settings["data"]["MODERATION_KAFKA__BOOTSTRAP_SERVERS"] == "broker.example:9093"
    assert settings["data"]["MODERATION_ENGINE__DEVICE"] == "cuda"
    (container,) = template_of(made["Deployment", "worker"])["spec"]["containers"]
    assert container["image"] == "registry.example/moderation-service:0.1.0-gpu"
    assert container["envFrom"] == [{"configMapRef": {"name": settings["metadata"]["name"]}}]


@pytest.mark.parametrize("words", HELM, ids=shlex.join)
def test_helm_takes_the_command_with_the_chart_and_values_that_it_names(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "charts").symlink_to(ROOT / "charts")
    for name in ("mine.yaml", "SHA256SUMS"):
        (tmp_path / name).touch()
    program = tool("helm") or skip_or_fail("helm is not there (scripts/kubernetes-tools.sh brings it)")
    release = words.index("moderation")
    options = [word for word in words[release:] if word != "--no-hooks"]
    done = subprocess.run(
        [str(program), "template", *options, "--kube-version", OLDEST], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def test_the_example_of_values_is_taken_by_the_chart(tmp_path: Path) -> None:
    (values,) = (block for block in YAML if block.startswith("worker:"))
    (tmp_path / "mine.yaml").write_text(values)
    manifests = chart("gpu", str(tmp_path / "mine"))
    (worker,) = (one for one in manifests if (one["kind"], one["metadata"]["name"]) == ("Deployment", "worker"))
    assert template_of(worker)["spec"]["priorityClassName"] == "moderation"
    assert template_of(worker)["spec"]["tolerations"]


def test_each_file_of_values_is_in_the_table_and_each_value_that_is_named_is_there() -> None:
    rows = re.findall(r"^\| `values/([\w-]+)\.yaml` \|", DEPLOY_DOC, re.MULTILINE)
    assert sorted(rows) == sorted(path.stem for path in (CHART / "values").glob("*.yaml"))
    top = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    named = re.findall(rf"`({'|'.join(top)})\.(\w+(?:\.\w+)*)", DEPLOY_DOC)
    sections = {name: type(section).model_fields for name, section in BareSettings()}
    for section, path in named:
        if path in sections.get(section, {}):
            continue  # a setting of the service
        value = top[section]
        for name in path.split("."):
            value = value[name]
