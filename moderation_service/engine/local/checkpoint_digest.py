"""The digest of a checkpoint's folder: what verdicts name as the model's revision."""

import hashlib
from pathlib import Path

import structlog

from moderation_service.engine.local.digest_cache import file_digest

DIGESTED = ("*.safetensors", "*.json", "*.jinja")
"""What of a checkpoint's folder can change a score: weights, configurations, tokenizer, chat template."""

_Known = dict[tuple[str, int, int], str]
log = structlog.get_logger(__name__)


def digest_folder(folder: Path, digests: Path | None = None) -> str:
    """`sha256:…` over the names and contents of all files that can change a score.

    `digests` is what k8s/model/digests.sh left: a file that still has the size and time noted there is not read again.
    """
    known = _known(digests) if digests else {}
    whole = hashlib.sha256()
    for path in sorted({path for pattern in DIGESTED for path in folder.glob(pattern)}):
        whole.update(f"{path.name}\0{_digest(path, known)}\n".encode())
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
