"""What `moderation model check` prints: tables for people, or JSON."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.table import Table

from moderation_service.engine.model_report import CheckInput, Finding, Memory, ModelReport

_LIKELIEST = 4  # tokens of each answer that are shown
_SMALL = 0.001
_GB = 1e9


def as_dict(report: ModelReport, findings: Iterable[Finding]) -> dict[str, Any]:
    """The report as JSON."""
    memory = sized(report.memory) if report.memory else None
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
        table.add_row(name, f"{size / _GB:.2f}")
    table.add_section()
    table.add_row("needed with the batches that are set", f"{memory.needed / _GB:.2f}")
    if memory.available is not None:
        table.add_row("available", f"{memory.available / _GB:.2f}")
        table.add_row("largest engine.max_batch_tokens that fits", f"{memory.largest_batch:,} tokens")
    if memory.peak is not None:
        table.add_row("allocated at most by this check", f"{memory.peak / _GB:.2f}")
    return table


def _answers(report: ModelReport) -> Table:
    table = Table("question", "image", "expected", "score", "label mass", "likeliest tokens", title="simple questions")
    for answer in report.answers:
        likely = ", ".join(f"{token!r} {chance:.3f}" for token, chance in answer.likely[:_LIKELIEST])
        table.add_row(
            f"{'a threat' if answer.expected == 'yes' else 'a greeting'}, {answer.language}",
            "yes" if answer.has_image else "no",
            answer.expected,
            f"{answer.score:.3f}",
            f"{answer.mass:.3f}" if answer.mass >= _SMALL else f"{answer.mass:.0e}",
            likely,
        )
    return table


def _images(report: ModelReport) -> Table:
    table = Table("image", "tokens", "pixels read", "of width and height", title="images")
    for image in report.images:
        table.add_row(f"{image.width} x {image.height}", f"{image.tokens:,}", f"{image.pixels:,}", f"{image.scale:.0%}")
    return table


def _posts(report: ModelReport) -> Table:
    kinds = ("prefix, kept", "text", "image", "questions", "computed a post", "room for a post")
    table = Table("layout", "language", *kinds, title="tokens of a post")
    for post in report.posts:
        sizes = (post.prefix, post.text, post.image, post.questions, post.computed, post.room)
        used = " (set)" if post.layout == report.model.layout else ""
        table.add_row(post.layout + used, post.language, *(f"{size:,}" for size in sizes))
    return table


def sized(memory: Memory) -> dict[str, Any]:
    """The memory as JSON, with its sum."""
    return {**asdict(memory), "needed": memory.needed}
