"""Weights are safetensors: plain numbers, which run nothing. Told from the files, before any library opens them."""

import json
from pathlib import Path

from moderation_service.errors import Fatal

_LENGTH_BYTES = 8
_HEADER_BEGINS = b"{"


def check_safetensors(model: str, folder: Path) -> None:
    """Raise Fatal where the weights in `folder` are none, are no safetensors, or lie elsewhere; `model` is its name."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = any(
            path.suffix in {".bin", ".ckpt", ".pkl"} or path.suffix.startswith(".pt") for path in folder.iterdir()
        )
        found = "only pickle files, which can run code" if pickled else "none"
        msg = f"engine.model {model}: needs weights as safetensors, and holds {found}"
        raise Fatal(msg)
    for index in folder.glob("*.safetensors.index.json"):
        for name in _named(index):
            if not name.endswith(".safetensors") or Path(name).name != name:
                msg = f"engine.model {model}: {index.name} names {name!r}, which is no safetensors file of that folder"
                raise Fatal(msg)
    for path in files:
        if not _is_safetensors(path):
            msg = f"engine.model {model}: {path.name} is no whole safetensors file"
            raise Fatal(msg)


def _named(index: Path) -> set[str]:
    """The files that an index names; none where it can't be read, which the library says."""
    try:
        files = json.loads(index.read_bytes())["weight_map"].values()
    except (ValueError, KeyError, AttributeError, TypeError):
        return set()
    return {str(name) for name in files}


def _is_safetensors(path: Path) -> bool:
    """Eight bytes of length, little-endian, and a JSON header of that length."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        return file.read(1) == _HEADER_BEGINS and length <= path.stat().st_size - _LENGTH_BYTES
