"""Digests of large files, computed once: kept in the user's cache directory beside the state that the file had."""

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

LARGE_BYTES = 64 * 1024 * 1024
"""Smaller files are read in less time than is worth a stamp."""

SETTLED_NS = 2_000_000_000
"""A file that was changed less than this ago may change again without another time."""

State = list[int]


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
