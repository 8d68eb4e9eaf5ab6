"""`python -m benchmarks [NAME...]`: run benchmarks one after the other, and keep what they print in a file.

Without names all of them. `faststream` needs another project's libraries (docs/explanation/performance.md).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ALL = ("engine", "pipeline", "host", "cache", "scale", "partitions", "linger", "console")
ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "explanation" / "performance.json"
_LIBRARIES = ROOT / ".cache" / "faststream"


def main(names: list[str]) -> None:
    """Replace the named figures. Raises CalledProcessError where a benchmark fails."""
    figures = json.loads(FIGURES.read_bytes()) if FIGURES.exists() else {}
    for name in names or ALL:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (_LIBRARIES, ROOT)))}
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=env, cwd=ROOT)  # noqa: S603 - ours
        figures[name] = json.loads(done.stdout)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
