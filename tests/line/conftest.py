"""Fixtures of commands that compare two policy packs."""

import shutil
from pathlib import Path

import pytest

from moderation_service.settings import shipped_policies


@pytest.fixture
def proposed(tmp_path: Path) -> Path:
    """The shipped policies without doxxing."""
    folder = tmp_path / "proposed"
    shutil.copytree(shipped_policies(), folder)
    (folder / "doxxing.yaml").unlink()
    return folder
