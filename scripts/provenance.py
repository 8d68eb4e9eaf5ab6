# ruff: noqa: INP001 - a script, and no package
"""Provenance of a release: an in-toto statement with SLSA's build predicate (v1), unsigned.

It names each file's SHA-256, the commit, and the lock that the build was held to. Sign it where your builds run.
"""

import hashlib
import json
import os
import sys
from pathlib import Path


def provenance(folder: Path, revision: str, lock: Path) -> dict[str, object]:
    """The statement on the files in `folder`."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    materials = [
        {"uri": f"git+{os.environ.get('RELEASE_REPOSITORY', '.')}", "digest": {"gitCommit": revision}},
        {"uri": lock.name, "digest": {"sha256": _sha256(lock)}},
    ]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": path.name, "digest": {"sha256": _sha256(path)}} for path in files],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "scripts/release.sh",
                "externalParameters": {"revision": revision},
                "resolvedDependencies": materials,
            },
            "runDetails": {"builder": {"id": os.environ.get("RELEASE_BUILDER", "local")}},
        },
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    made = provenance(Path(sys.argv[1]), sys.argv[2], Path("requirements.lock"))
    Path(sys.argv[1], "provenance.intoto").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
