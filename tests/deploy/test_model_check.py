"""The check of a model's files that runs before a pod's worker, on folders that are as they should be, and not."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.deploy.files import ROOT

DIGESTS = ROOT / "k8s" / "model" / "digests.sh"
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
    """What the job that fetches a model prints for it. It leaves its digests in the folder too."""
    done = subprocess.run(["sh", DIGESTS, model], capture_output=True, text=True, check=True)
    files = [path for path in sorted(model.rglob("*")) if path.is_file() and path.name != ".digests"]
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(model)}\n" for path in files]
    assert done.stdout == "".join(lines)
    written = model.parent / "SHA256SUMS"
    written.write_text(done.stdout)
    return written


def check(model: Path, sums: Path) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(CHECK), str(model), str(sums)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("copied", [True, False])
def test_a_whole_model_passes_and_is_digested_where_it_was_not_before(model: Path, sums: Path, copied: bool) -> None:  # noqa: FBT001
    (model / ".cache").mkdir()
    (model / ".cache" / "of-the-download").touch()
    if copied:
        (model / ".digests").unlink()
    done = check(model, sums)
    how = "as they should be" if copied else "as they were when they were fetched"
    assert (done.returncode, done.stdout) == (0, f"all 2 files of {model} are {how}\n")


def test_files_of_the_same_size_and_time_are_not_digested_again_and_those_of_another_time_are(
    model: Path, sums: Path
) -> None:
    weights = model / "deep" / "model 1.safetensors"
    times = weights.stat().st_atime, weights.stat().st_mtime
    weights.write_bytes(b"another")
    os.utime(weights, times)
    assert check(model, sums).returncode == 0
    os.utime(weights, (times[0], times[1] + 60))
    done = check(model, sums)
    assert done.returncode != 0
    assert "model 1.safetensors: FAILED" in done.stdout


def test_a_folder_of_another_revision_does_not_pass_for_its_own_digests(model: Path, sums: Path) -> None:
    sums.write_text(sums.read_text().replace(hashlib.sha256(b"{}").hexdigest(), "0" * 64))
    done = check(model, sums)
    assert done.returncode != 0
    assert "config.json: FAILED" in done.stdout


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
    assert "docs/how-to/deploy-kubernetes.md" in done.stderr
