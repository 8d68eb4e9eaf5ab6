"""Alertmanager's configuration, by its own tool."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.ops.files import ALERTMANAGER, program

SECRET = re.compile(r"wechat_api_secret_file: .*")
SECRET_FROM_FILE = (0, 31)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration; where the tool is older than files for WeCom's secret, with a secret in its place."""
    said = subprocess.run([program("amtool"), "--version"], capture_output=True, text=True, check=True)
    version = re.search(r"version (\d+)\.(\d+)", said.stdout + said.stderr)
    assert version
    text = ALERTMANAGER.read_text(encoding="utf-8")
    if tuple(map(int, version.groups())) < SECRET_FROM_FILE:
        text, changed = SECRET.subn("wechat_api_secret: secret", text)
        assert changed == 1
    path = tmp_path / "alertmanager.yml"
    path.write_text(text, encoding="utf-8")
    return path


def amtool(*arguments: str) -> str:
    done = subprocess.run([program("amtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_amtool_passes_the_configuration(config: Path) -> None:
    assert "2 receivers" in amtool("check-config", str(config))


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "people"), ("warning", "channel"), ("info", "channel")]
)
def test_people_are_woken_for_what_is_critical_alone(config: Path, severity: str, receiver: str) -> None:
    told = amtool("config", "routes", "test", f"--config.file={config}", "alertname=Any", f"severity={severity}")
    assert told == receiver


def test_secrets_are_in_files_and_people_are_reached_by_slack_wecom_and_dingtalk() -> None:
    text = ALERTMANAGER.read_text(encoding="utf-8")
    assert re.findall(r"^ *(\w*secret\w*|\w*api_url\w*|\w*token\w*):", text, re.MULTILINE) == [
        "slack_api_url_file",
        "wechat_api_secret_file",
    ]
    for channel in ("slack_configs", "wechat_configs", "dingtalk"):
        assert channel in text
