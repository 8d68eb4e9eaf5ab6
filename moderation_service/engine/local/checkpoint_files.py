"""A checkpoint's files: checked to be safetensors before any library opens them, and digested for the verdicts.

Safetensors are plain numbers, which run nothing. Digests of large files are kept in the user's cache directory, beside
the state that the file had.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import structlog

from moderation_service.errors import Fatal

DIGESTED = ("*.safetensors", "*.json", "*.jinja")
"""What of a checkpoint's folder can change a score: weights, configurations, tokenizer, chat template."""

LARGE_BYTES = 64 * 1024 * 1024
"""Smaller files are read in less time than is worth a stamp."""

SETTLED_NS = 2_000_000_000
"""A file that was changed less than this ago may change again without another time."""

_LENGTH_BYTES = 8
_HEADER_BEGINS = b"{"
State = list[int]
_Known = dict[tuple[str, int, int], str]
log = structlog.get_logger(__name__)


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
                msg = (
                    f"engine.model {model}: {index.name} names {name!r}, which is not a safetensors file of that folder"
                )
                raise Fatal(msg)
    for path in files:
        if not is_safetensors(path):
            msg = f"engine.model {model}: {path.name} is not a complete safetensors file"
            raise Fatal(msg)


def _named(index: Path) -> set[str]:
    """The files that an index names; none where it can't be read, which the library says."""
    try:
        files = json.loads(index.read_bytes())["weight_map"].values()
    except (ValueError, KeyError, AttributeError, TypeError):
        return set()
    return {str(name) for name in files}


def is_safetensors(path: Path) -> bool:
    """Whether the file begins as one: eight bytes of length, little-endian, and a JSON header of that length."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        return file.read(1) == _HEADER_BEGINS and length <= path.stat().st_size - _LENGTH_BYTES


def digest_folder(folder: Path, digests: Path | None = None) -> str:
    """`sha256:…` over the names and contents of all files that can change a score.

    `digests` is what k8s/model/digests.sh left: a file that still has the size and time noted there is not read again.
    """
    known = _known(digests) if digests else {}
    return digest_files((path for pattern in DIGESTED for path in folder.glob(pattern)), known)


def digest_files(paths: Iterable[Path], known: _Known | None = None) -> str:
    """`sha256:…` over the names and contents of files, in whatever order they are given."""
    whole = hashlib.sha256()
    for path in sorted(set(paths)):
        whole.update(f"{path.name}\0{_digest(path, known or {})}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def _digest(path: Path, known: _Known) -> str:
    stat = path.stat()
    if noted := known.get((path.name, stat.st_size, int(stat.st_mtime))):
        return noted
    return file_digest(path)


def _known(digests: Path) -> _Known:
    """The digests by name, size and time; none where the file can't be read, so that all are computed."""
    try:
        lines = [line.split(" ", 4) for line in digests.read_text(encoding="utf-8").splitlines()]
        return {(name, int(size), int(time)): digest for size, time, digest, _, name in lines}
    except (OSError, ValueError) as error:
        log.warning("engine.digests can't be read; the weights are digested anew", error=f"{type(error).__name__}")
        return {}


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hex. One that still has the size, inode and times of its stamp is not read again."""
    state = _state(path)
    if state[0] < LARGE_BYTES:
        return _sha256(path)
    stamp = _stamp_of(path)
    if stamp and (kept := _read(stamp, state)):
        return kept
    digest = _sha256(path)
    if stamp and _state(path) == state and time.time_ns() - max(state[1:3]) > SETTLED_NS:
        _write(stamp, state, digest)
    return digest


def _state(path: Path) -> State:
    """The change time is among it, which no program can set back."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp_of(path: Path) -> Path | None:
    """None without a place for it: no home directory, as a container's user may have none."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:
        return None
    return cache / "moderation-service" / "digests" / hashlib.sha256(str(path.resolve()).encode()).hexdigest()


def _read(stamp: Path, state: State) -> str | None:
    """The kept digest of a file in this state; None where there is none, or where another user wrote it."""
    try:
        if stamp.stat().st_uid != os.getuid():
            return None
        kept = json.loads(stamp.read_bytes())
        return str(kept["sha256"]) if kept["state"] == state else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(stamp: Path, state: State, digest: str) -> None:
    """Whole or not at all; without a place to write, the next start reads the file again."""
    with suppress(OSError):
        stamp.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = stamp.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps({"state": state, "sha256": digest}), encoding="utf-8")
        new.replace(stamp)
