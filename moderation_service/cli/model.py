"""The command on the model that judges."""

import asyncio
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import App, Parameter, validators
from rich.table import Table

from moderation_service.app import model_check
from moderation_service.cli.common import PROBLEMS, SettingsFile, load, show
from moderation_service.engine.model_report import CheckInput, Finding, Memory, ModelReport

SAID = 4  # tokens of each answer that are shown
SMALL = 0.001
GB = 1e9

model = App(name="model", help="The model that judges.")


@model.command(name="check")
def check(
    *,
    shape: str | None = None,
    card_gb: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 24.0,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    settings: SettingsFile = None,
) -> int:
    """Ask the configured model simple questions and measure it; one line a finding, with the setting to change.

    Prints what it answers, which label words count, how much of an image it reads, tokens of a post, memory by part
    and the latency of one post. With `--shape GLM-4.6V-Flash`, or a folder with a config.json, only the memory of that
    model on a card of `--card-gb`; no weights are needed. Exits 1 where the model does not answer or does not fit.

    Example: `MODERATION_ENGINE__QUANTIZATION=int8 moderation model check --shape GLM-4.6V-Flash --card-gb 16`
    """
    loaded = load(settings)
    if shape:
        memory = model_check.check_shape(loaded, shape, card_gb)
        if as_json:
            print(json.dumps(_sized(memory), indent=1))
        else:
            show(memory_table(memory), *([memory.advice] if memory.advice else []))
        return PROBLEMS if memory.advice else 0
    print(f"loading {loaded.engine.model}, then asking it", file=sys.stderr)
    report, checked = asyncio.run(model_check.check_model(loaded))
    findings = report.findings(checked)
    if as_json:
        print(json.dumps(as_dict(report, findings), ensure_ascii=False, indent=1))
    else:
        show(*shown(report, checked, findings))
    return PROBLEMS if any(finding.level == "error" for finding in findings) else 0


def as_dict(report: ModelReport, findings: Iterable[Finding]) -> dict[str, Any]:
    """The report as JSON."""
    memory = _sized(report.memory) if report.memory else None
    return {**asdict(report), "memory": memory, "findings": [asdict(finding) for finding in findings]}


def shown(report: ModelReport, checked: CheckInput, findings: list[Finding]) -> Iterable[Table | str]:
    """The report as tables and lines."""
    info = report.model
    quantized = f", {info.quantization}" if info.quantization else ""
    yield f"{info.name} ({info.revision}), {info.dtype}{quantized}, engine {info.engine}, layout {info.layout}"
    yield ""
    yield _answers(report)
    yield f"answer prefix: {report.answer_prefix!r}" if report.answer_prefix else "answer prefix: none"
    yield "label words: " + ", ".join(
        f"{label.word} ({label.why}{', not counted' if label.counts is False else ''})" for label in report.labels
    )
    yield ""
    yield _images(report)
    yield ""
    yield _posts(report)
    yield ""
    if report.memory:
        yield memory_table(report.memory)
    else:
        yield "memory: the server's own"
        times = "once, then by UUID" if report.sends_by_uuid else "with each question: the server keeps none by UUID"
        yield f"a post's images are sent {times}"
    width, height = checked.usual
    yield f"latency of one post with an image of {width} x {height}: {report.latency_ms:.0f} ms"
    yield ""
    yield from [f"{finding.level}: {finding.text}" for finding in findings] or ["nothing to change"]


def memory_table(memory: Memory) -> Table:
    """Each part, the sum, and what there is."""
    table = Table("part", "GB", min_width=60, title=f"memory: {memory.of}")
    for name, size in memory.parts.items():
        table.add_row(name, f"{size / GB:.2f}")
    table.add_section()
    table.add_row("needed with the batches that are set", f"{memory.needed / GB:.2f}")
    if memory.available is not None:
        table.add_row("available", f"{memory.available / GB:.2f}")
        table.add_row("largest engine.max_batch_tokens that fits", f"{memory.largest_batch:,} tokens")
    if memory.peak is not None:
        table.add_row("allocated at most by this check", f"{memory.peak / GB:.2f}")
    return table


def _answers(report: ModelReport) -> Table:
    table = Table("question", "image", "expected", "score", "label mass", "likeliest tokens", title="simple questions")
    for answer in report.answers:
        likely = ", ".join(f"{token!r} {chance:.3f}" for token, chance in answer.likely[:SAID])
        table.add_row(
            f"{'a threat' if answer.expected == 'yes' else 'a greeting'}, {answer.language}",
            "yes" if answer.has_image else "no",
            answer.expected,
            f"{answer.score:.3f}",
            f"{answer.mass:.3f}" if answer.mass >= SMALL else f"{answer.mass:.0e}",
            likely,
        )
    return table


def _images(report: ModelReport) -> Table:
    table = Table("image", "tokens", "pixels read", "of width and height", title="images")
    for image in report.images:
        table.add_row(f"{image.width} x {image.height}", f"{image.tokens:,}", f"{image.pixels:,}", f"{image.scale:.0%}")
    return table


def _posts(report: ModelReport) -> Table:
    columns = (
        "layout",
        "language",
        "prefix, kept",
        "text",
        "image",
        "questions",
        "computed a post",
        "room for a post",
    )
    table = Table(*columns, title="tokens of a post")
    for post in report.posts:
        sizes = (post.prefix, post.text, post.image, post.questions, post.computed, post.room)
        used = " (set)" if post.layout == report.model.layout else ""
        table.add_row(post.layout + used, post.language, *(f"{size:,}" for size in sizes))
    return table


def _sized(memory: Memory) -> dict[str, Any]:
    return {**asdict(memory), "needed": memory.needed}
