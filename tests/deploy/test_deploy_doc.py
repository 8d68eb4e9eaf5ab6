"""What docs/how-to/deploy-*.md tell a stranger to type, to set and to look at is there."""

import re
import shlex

import pytest

from moderation_service.settings import PREFIX, Settings
from tests.deploy.files import DEPLOY_DOC, ROOT, compose, parse

COMMANDS = [
    *re.findall(r"(?<!-n )\bmoderation ([a-z][^`'\n]*)", DEPLOY_DOC),
    *re.findall(r"moderation-service:\w+ ([a-z][^\n]*)", DEPLOY_DOC),
    *re.findall(r"compose run --rm (?:-v \S+ )?worker ([^\n`]+)", DEPLOY_DOC),
]
FOLDERS = ("k8s/", "observability/", "policies/", "compose/", "moderation_service/")


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
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_the_ports_and_profiles_are_those_of_the_compose_file() -> None:
    published = {port.split(":")[1] for service in compose()["services"].values() for port in service.get("ports", ())}
    said = re.findall(r"^\| (\d{4}(?:, \d{4})*) \|", DEPLOY_DOC, re.MULTILINE)
    assert {port for cell in said for port in cell.split(", ")} == published
    profiles = {profile for service in compose()["services"].values() for profile in service.get("profiles", ())}
    assert profiles == set(re.findall(r"--profile ([\w-]+)", DEPLOY_DOC)) | {"cpu"}
