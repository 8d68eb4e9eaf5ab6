"""What scripts/gpu-bench.sh runs: first whether a GPU answers as it should, then how fast, part by part.

Each part prints one line of JSON as it ends, and the output file is written anew, so a run that is ended early loses
only the part that it was in.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

BEGUN = time.monotonic()
"""The import of torch takes its share of the budget."""

try:
    import torch
    import transformers

    from benchmarks.gpu_parts import GpuBench, answers
    from moderation_service.bench.engine import CASES
    from moderation_service.bench.engine_case import LAYOUTS
    from moderation_service.bench.machine import machine
    from moderation_service.bench.random_model import SMALL, TINY, Shape, make_processor
    from moderation_service.engine.local.quantization import LAYERS
    from moderation_service.errors import Misconfigured
    from moderation_service.settings import LayoutName
except ModuleNotFoundError as error:
    sys.exit(f"gpu-bench: {error}; scripts/gpu-wheels.sh fetches what a GPU machine lacks, for --wheels")

BUDGET_S = 530.0
"""Of nine minutes; the rest is for installing wheels and starting Python."""

Figures = dict[str, Any]
Part = Callable[[], Figures]


class Trial(NamedTuple):
    """Answers of the shapes in `checked` are compared; `shape` is timed, from Kafka to Kafka on images of `side`."""

    device: Literal["cpu", "cuda"]
    checked: dict[str, Shape]
    shape: Literal["tiny", "9b"]
    posts: int
    rounds: int
    kafka_posts: int
    side: int


class Report:
    """Figures by part, and why the others have none: printed as lines, and kept in a file."""

    def __init__(self, path: Path, checks: Iterable[str], timed: Iterable[str], *, with_goals: bool) -> None:
        self._path, self._checks, self._with_goals = path, list(checks), with_goals
        self._left = [*self._checks, *timed]
        self._lock = threading.Lock()  # the end of the budget comes on a thread of its own
        self.found: dict[str, dict[str, Any]] = {"parts": {}, "skipped": {}, "failed": {}}

    @property
    def wrong(self) -> list[str]:
        """Checks that did not come out right, or did not end."""
        return [name for name in self._checks if not self.found["parts"].get(name, {}).get("right")]

    def add(self, kind: Literal["parts", "skipped", "failed"], name: str, what: Any) -> None:  # noqa: ANN401 - JSON
        """The part has ended."""
        with self._lock:
            self._left.remove(name)
            self.found[kind][name] = what
            self._write({"part": name, **(what if kind == "parts" else {kind: what})})

    def end(self, reason: str) -> NoReturn:
        """Name what is left as skipped, and end the process, wherever its other threads are.

        The exit code is 1 where answers are wrong or a part failed; a part that is skipped is no fault.
        """
        with self._lock:
            self.found["skipped"] |= dict.fromkeys(self._left, reason)
            self._left = []
            unmeasured = {kind: self.found[kind] for kind in ("skipped", "failed")}
            self._write({"part": "summary", "goals": self._goals(), **unmeasured})
            os._exit(1 if self.wrong or self.found["failed"] else 0)

    def _goals(self) -> Figures | None:
        return goals(self.found["parts"]) if self._with_goals else None

    def _write(self, line: Figures) -> None:
        print(json.dumps(line), flush=True)
        whole = {
            "goals": self._goals(),
            **self.found,
            "left": self._left,
            "seconds": round(time.monotonic() - BEGUN, 1),
            "machine": machine(),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
            "command": " ".join(["scripts/gpu-bench.sh", *sys.argv[1:]]),
        }
        fresh = self._path.with_name(f"{self._path.name}.new")
        fresh.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        fresh.replace(self._path)


def main() -> None:
    """Print JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--tiny", action="store_true", help="on the CPU, a tiny shape: tries the script, measures nothing"
    )
    parser.add_argument("--posts", type=int, default=16, help="a batch")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds; parts that are left then are skipped")
    parser.add_argument("--output", type=Path, default=Path("gpu-bench.json"), help="the file of all figures")
    chosen = parser.parse_args()
    if not chosen.tiny and not torch.cuda.is_available():
        print("gpu-bench: no GPU that torch can use; --tiny tries the script on the CPU", file=sys.stderr)
        sys.exit(2)
    trial = Trial("cuda", {"tiny": TINY, "small": SMALL}, "9b", chosen.posts, 3, 144, 1036)
    if chosen.tiny:
        trial = Trial("cpu", {"tiny": TINY}, "tiny", 2, 1, 6, 112)
    with tempfile.TemporaryDirectory() as folder:
        checks, timed = parts(trial, Path(folder))
        report = Report(chosen.output, checks, timed, with_goals=not chosen.tiny)
        late = threading.Timer(
            chosen.budget - (time.monotonic() - BEGUN), report.end, [f"the budget of {chosen.budget:g} s was spent"]
        )
        late.daemon = True
        late.start()
        for name, check in checks.items():
            run(report, name, check)
        if report.wrong:
            report.end(f"the answers are wrong: {', '.join(report.wrong)}")
        for name, part in timed.items():
            run(report, name, part)
            gc.collect()
            torch.cuda.empty_cache()
        late.cancel()
    report.end("")


def parts(trial: Trial, folder: Path) -> tuple[dict[str, Part], dict[str, Part]]:
    """What is checked, and what is timed, in order of what the figures are worth."""
    checks: dict[str, Part] = {
        f"answers.{name}.{layout}": partial(answers, shape, layout, trial.device)
        for name, shape in trial.checked.items()
        for layout in LAYOUTS
    }
    bench = GpuBench(trial.shape, trial.device, trial.posts, trial.rounds)
    cases = {f"layouts.{policies}x{tokens}": partial(bench.layouts, policies, tokens) for policies, tokens in CASES}
    first = {name: cases.pop(name) for name in ("layouts.8x60", "layouts.8x300")}
    kafka = {f"kafka.{layout}": partial(kafka_to_kafka, bench, trial, layout, folder) for layout in LAYOUTS}
    timed: dict[str, Part] = {
        "model": bench.model,
        **first,
        "alone": bench.alone,
        "prefill": bench.prefill,
        **kafka,
        "generate": bench.generate,
        **{kind: partial(bench.quantized, kind) for kind in LAYERS},
        **cases,
    }
    return checks, timed


def run(report: Report, name: str, part: Part) -> None:
    """Do a part; what it lacks or what goes wrong in it ends no other."""
    begun = time.monotonic()
    try:
        figures = part()
    except (ModuleNotFoundError, Misconfigured) as error:
        report.add("skipped", name, str(error))
    except Exception as error:  # noqa: BLE001 - whatever a part dies of, the others are worth having
        report.add("failed", name, f"{type(error).__name__}: {error}"[:1000])
    else:
        report.add("parts", name, {**figures, "seconds": round(time.monotonic() - begun, 1)})


def kafka_to_kafka(bench: GpuBench, trial: Trial, layout: LayoutName, folder: Path) -> Figures:
    """The whole service on the embedded broker."""
    from benchmarks import gpu_kafka as service  # noqa: PLC0415 - its clients may be missing
    from moderation_service.demo.broker import embedded_broker  # noqa: PLC0415

    images = service.write_photographs(folder, trial.kafka_posts, trial.side)
    checkpoint = replace(bench.checkpoint, image_processor=make_processor(trial.side).image_processor)
    topics = [f"{layout}.{topic}" for topic in service.KINDS]
    with embedded_broker(topics) as address:
        return service.run(service.kafka_settings(address, topics), checkpoint, layout, folder, images)


def goals(found: dict[str, Figures]) -> Figures:
    """What is hoped for of an H200 beside what was found so far."""
    told: Figures = {}

    def tell(name: str, value: float, *, least: float | None = None, below: float | None = None) -> None:
        met = value >= least if least is not None else below is not None and value < below
        told[name] = {"goal": f">= {least}" if least is not None else f"< {below}", "found": value, "met": met}

    main_case, long_case = found.get("layouts.8x60"), found.get("layouts.8x300")
    if main_case:
        better = max((main_case[layout] for layout in LAYOUTS), key=lambda figures: figures["posts_per_second"])
        tell("post_first.8x60", main_case["post_first"]["posts_per_second"], least=24)
        tell("roofline_share", better["roofline_share"], least=0.7)
        for other, least in (("prefill", 5), ("generate", 50)):
            if other in found:
                over = better["posts_per_second"] / found[other]["posts_per_second"]
                tell(f"over_{other}", round(over, 2), least=least)
    if long_case:
        tell("policies_first.8x300", long_case["policies_first"]["posts_per_second"], least=32)
    if alone := found.get("alone"):
        tell("alone_p50_ms", min(alone[layout]["p50_ms"] for layout in LAYOUTS), below=180)
    return told


if __name__ == "__main__":
    main()
