"""Make the demonstration model anew, from the font to the checkpoint, on the processor alone.

`python -m demo_model [--out FOLDER] [--work FOLDER] [--font FILE]`
"""

import argparse
import json
import logging
import os
import sys
import time
from pathlib import Path

from moderation_service.settings import DEMO_MODEL

LOG = logging.getLogger("demo-model")

THREADS = min(4, os.cpu_count() or 1)
ENVIRONMENT = {
    # Threads that spin for work halve each other's speed as soon as anything else runs.
    "OMP_NUM_THREADS": str(THREADS),
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "0",
    # Large buffers given back to the system at each step cost more than half of the time.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 35),
}


def main() -> None:
    """Train, measure, write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DEMO_MODEL, help="folder of the checkpoint")
    parser.add_argument("--work", type=Path, default=Path(".cache/demo-model"), help="what finished stages leave")
    parser.add_argument("--font", type=Path, help="NotoColorEmoji.ttf, where it is not in its usual place")
    parser.add_argument("--posts", type=int, default=1500, help="posts in each set that is measured")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    _settle()
    make(chosen.out, chosen.work, chosen.font, chosen.posts)


def make(out: Path, work: Path, font: Path | None, count: int) -> None:
    """All stages. One that a former run has finished is not run again while `work` holds what it made."""
    import torch  # noqa: PLC0415 - after the environment is settled

    from demo_model import checkpoint, measure, model_card, recipe, sprite_sheet  # noqa: PLC0415

    torch.set_num_threads(THREADS)
    begun = time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    sprite_sheet.draw(font or sprite_sheet.find_font())
    tokenizer = recipe.make_tokenizer()
    model, heads = recipe.blank()
    LOG.info("painting the images")
    material = recipe.make_material(model, tokenizer)
    for stage in recipe.STAGES:
        kept = work / f"{stage.name}.pt"
        if kept.is_file():
            state = torch.load(kept)
            LOG.info("stage %s was finished before: %s", stage.name, kept)
        else:
            stage.run(model, heads, material)
            state = {"model": model.state_dict(), "heads": heads.state_dict()}
            torch.save(state, kept)
            LOG.info("stage %s done, %.0f minutes so far", stage.name, (time.monotonic() - begun) / 60)
        model.load_state_dict(state["model"])
        heads.load_state_dict(state["heads"])
    checkpoint.save(model, tokenizer, out)
    figures = measure.measure(out, count)
    Path(__file__).with_name("figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    (out / "README.md").write_text(model_card.write(figures, count), encoding="utf-8")
    LOG.info("%s is ready", out)


def _settle() -> None:
    """Start again with the environment that torch and the allocator read when they are loaded."""
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        arguments = [sys.executable, "-m", "demo_model", *sys.argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, **ENVIRONMENT})  # noqa: S606 - this very program


if __name__ == "__main__":
    main()
