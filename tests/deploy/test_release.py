"""scripts/release.sh in a clone: what it refuses, and what a release holds."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from moderation_service import __version__
from scripts.provenance import provenance

ROOT = Path(__file__).parents[2]


def git(clone: Path, *arguments: str) -> None:
    named = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    subprocess.run(["git", *named, *arguments], cwd=clone, check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What git knows here, as one commit of its own."""
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    for name in (
        "CHANGELOG.md",
        "moderation_service/__init__.py",
        *(one for one in names if one.startswith("scripts/")),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "all")
    return tmp_path


def refused(clone: Path) -> str:
    ran = subprocess.run([clone / "scripts/release.sh"], cwd=clone, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    return ran.stderr


def test_changes_that_are_not_committed_are_refused(clone: Path) -> None:
    (clone / "new.txt").write_text("x")
    assert "the working tree has changes" in refused(clone)


def test_a_version_without_its_changes_is_refused(clone: Path) -> None:
    assert f"CHANGELOG.md has no section [{__version__}]" in refused(clone)


def test_another_tag_than_the_versions_is_refused(clone: Path) -> None:
    changes = clone / "CHANGELOG.md"
    changes.write_text(changes.read_text().replace("## [Unreleased]", f"## [{__version__}]"))
    git(clone, "commit", "--all", "--quiet", "--message", "changes")
    git(clone, "tag", "v9.9.9")
    assert f"the commit's tag should be v{__version__}" in refused(clone)


def test_the_provenance_names_each_files_digest_and_the_commit(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"wheel")
    made = json.loads(json.dumps(provenance(tmp_path, "f" * 40, ROOT / "requirements.lock")))
    assert made["subject"] == [{"name": "a.whl", "digest": {"sha256": hashlib.sha256(b"wheel").hexdigest()}}]
    commit, lock = made["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert commit["digest"] == {"gitCommit": "f" * 40}
    assert lock["uri"] == "requirements.lock"
