"""The check of a model's files that runs before a pod's worker, on folders that are as they should be, and not."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.deploy.files import ROOT

CHECK = ROOT / "k8s" / "model" / "check.sh"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "deep" / "model 1.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def sums(model: Path) -> Path:
    """What the job that fetches a model prints for it."""
    files = [path for path in sorted(model.rglob("*")) if path.is_file()]
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(model)}\n" for path in files]
    written = model.parent / "SHA256SUMS"
    written.write_text("".join(lines))
    return written


def check(model: Path, sums: Path) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(CHECK), str(model), str(sums)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_whole_model_passes(model: Path, sums: Path) -> None:
    (model / ".cache").mkdir()
    (model / ".cache" / "of-the-download").touch()
    done = check(model, sums)
    assert (done.returncode, done.stdout) == (0, f"all 2 files of {model} are as they should be\n")


def test_a_changed_file_is_named(model: Path, sums: Path) -> None:
    (model / "config.json").write_text('{"other": 1}')
    done = check(model, sums)
    assert done.returncode != 0
    assert "config.json: FAILED" in done.stdout


def test_a_missing_file_is_named(model: Path, sums: Path) -> None:
    (model / "config.json").unlink()
    done = check(model, sums)
    assert done.returncode != 0
    assert "config.json" in done.stderr


def test_a_file_too_many_is_named(model: Path, sums: Path) -> None:
    (model / "extra.safetensors").touch()
    done = check(model, sums)
    assert done.returncode != 0
    assert "extra.safetensors" in done.stderr


def test_without_digests_nothing_passes(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    done = check(model, tmp_path / "empty")
    assert done.returncode != 0
    assert "docs/deploy.md" in done.stderr
