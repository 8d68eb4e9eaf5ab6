"""A folder as Kubernetes mounts a ConfigMap."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path


class ConfigMap:
    """Each file is a link through `..data`, itself a link, to a hidden folder that is swapped whole."""

    def __init__(self, path: Path, files: Mapping[str, str]) -> None:
        path.mkdir()
        self.path = path
        self._updates = 0
        self.update(files)

    def update(self, files: Mapping[str, str]) -> None:
        """What the kubelet does, in its order: new folder, `..data` renamed over, links added and taken away."""
        data, link = self.path / "..data", self.path / "..data_tmp"
        old = data.resolve() if data.exists() else None
        self._updates += 1
        fresh = self.path / f"..2026_01_01_00_00_00.{self._updates}"
        fresh.mkdir()
        for name, text in files.items():
            (fresh / name).write_text(text, encoding="utf-8")
        link.symlink_to(fresh.name)
        os.replace(link, data)  # noqa: PTH105 - the atomic rename itself
        for name in files:
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(Path("..data") / name)
        for seen in self.path.iterdir():
            if not seen.name.startswith("..") and seen.name not in files:
                seen.unlink()
        if old:
            shutil.rmtree(old)
