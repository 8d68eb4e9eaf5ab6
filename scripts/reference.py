# ruff: noqa: INP001 - a script, and no package
"""Writes docs/reference/{settings,cli,metrics,packs}.md from settings tree, command line, metrics and policy packs.

Run by `make reference`; tests/test_reference.py compares.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from moderation_service.cli import cli
from moderation_service.policies.coverage import CategoryCoverage, coverage
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.settings import PREFIX, BareSettings
from moderation_service.settings.section import Section
from moderation_service.telemetry import metrics

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
MADE = "<!-- Made by `make reference`: do not edit. -->"
SETTINGS = """# Settings

For whoever configures the service: every setting, its type, its default and what it does.

Set one by its environment name, or in a TOML file named by `--settings` (`group = "…"` under `[kafka]`). The
environment wins over the file. `NAME_FILE` reads the value from a file, such as a mounted secret. Lists take commas or
JSON, tables take JSON. An unknown name is an error."""
CLI = """# Commands

For whoever runs `moderation`: every command, its arguments and an example. Data goes to standard output, progress and
logs to standard error.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the work found problems: a failed case, a replay that differs, a row that was left out |
| 2 | usage, a setting or a policy file is wrong; one line says which and what would be right |
| 3 | the service cannot go on |
"""
METRICS = """# Metrics

For whoever writes queries, boards and alerts: every metric and its labels. No label ever holds an id of a post.

A worker serves `/metrics` on `ops.port` (9464), a console on `console.ops_port` (9465). A histogram has the series
`_bucket`, `_sum` and `_count`.

| metric | type | labels | meaning |
|---|---|---|---|"""

PACKS = """# Policy packs

For policy teams: what the packs that come with the service contain, and which categories of three taxonomies they
cover. How to [choose and change one](../how-to/policies.md#choose-a-pack)."""
TAXONOMIES = {
    "ailuminate": "[MLCommons AILuminate](https://mlcommons.org/ailuminate/), version 1.0",
    "dsa": "[DSA Transparency Database](https://transparency.dsa.ec.europa.eu/page/api-documentation)",
    "openai": "[OpenAI's moderation API](https://platform.openai.com/docs/guides/moderation)",
}


def settings() -> str:
    """A table a section: name, environment name, type, default, meaning."""
    sections = ("\n".join(_section(name, type(section))) for name, section in BareSettings())
    return "\n\n".join((MADE, SETTINGS, *sections)) + "\n"


def _section(name: str, section: type[Section]) -> Iterator[str]:
    yield from (f"## {name}", "", section.__doc__, "")
    yield from ("| setting | environment | type | default | meaning |", "|---|---|---|---|---|")
    types = section.model_json_schema()["properties"]
    for field, info in section.model_fields.items():
        environment = f"`{PREFIX}{name.upper()}__{field.upper()}`"
        yield _row(f"`{field}`", environment, _type(types[field]), _default(info), info.description)


def _type(schema: Mapping[str, Any]) -> str:
    """A type in words, from its JSON schema."""
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"] if one != {"type": "null"})
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if schema["type"] == "object":
        return f"table of {_type(schema['additionalProperties'])}"
    name = {"password": "secret"}.get(schema.get("format", ""), schema.get("format", schema["type"]))
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
    return " ".join([name, *(f"{sign} {schema[bound]}" for bound, sign in bounds.items() if bound in schema)])


def _default(info: FieldInfo) -> str:
    value = info.default
    if info.default_factory or value is None:
        return ""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, frozenset):
        value = sorted(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text.removeprefix(f'{ROOT}/')}`"


def command_line() -> str:
    """Every command's help, as cyclopts renders it."""
    commands = cli.generate_docs().split("## Table of Contents", 1)[1]
    return "\n".join((MADE, "", CLI, f"## Contents{commands.rstrip()}", ""))


def metric_list() -> str:
    """A row a metric, in the order in which they are declared."""
    declared = (one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase))
    rows = (
        _row(
            f"`{one._name}{'_total' if one._type == 'counter' else ''}`",  # noqa: SLF001 - nothing public has these
            one._type,  # noqa: SLF001
            ", ".join(f"`{label}`" for label in one._labelnames),  # noqa: SLF001
            one._documentation,  # noqa: SLF001
        )
        for one in declared
    )
    return "\n".join((MADE, "", METRICS, *rows, ""))


def packs() -> str:
    """The policies of each pack, and what covers each category."""
    loaded = {name: load_pack(ROOT / "policies" / name) for name in ("standard", "starter")}
    parts = [MADE, PACKS, *("\n".join(_policies(name, pack)) for name, pack in loaded.items())]
    return "\n\n".join([*parts, "\n".join(_coverage(loaded))]) + "\n"


def _policies(name: str, pack: PolicyPack) -> Iterator[str]:
    cases = sum(len(policy.cases) for policy in pack.policies)
    yield from (f"## {name}", "", f"{len(pack.policies)} policies with {cases} cases, in `policies/{name}/`.", "")
    yield from ("| policy | title | severity | review | block | owner | countries |", "|---|---|---|---|---|---|---|")
    for policy in pack.policies:
        block = policy.thresholds.block
        yield _row(
            f"`{policy.id}`",
            policy.title.in_language("en"),
            str(policy.severity),
            f"{policy.thresholds.review:g}",
            "never by machine" if block is None else f"{block:g}",
            policy.owner or "–",
            ", ".join(policy.jurisdictions) or "all",
        )


def _coverage(loaded: Mapping[str, PolicyPack]) -> Iterator[str]:
    yield from ("## Coverage", "", "A category that no policy covers is not checked. A “false” for it means nothing.")
    rows = [*zip(*map(coverage, loaded.values()), strict=True)]
    for taxonomy, title in TAXONOMIES.items():
        yield from ("", f"### {title}", "", f"| category | {' | '.join(loaded)} |", "|---|---|---|")
        for row in rows:
            if row[0].taxonomy == taxonomy:
                yield _row(f"`{row[0].category}`", *map(_covered, row))


def _covered(one: CategoryCoverage) -> str:
    nothing = f"left out: {one.reason}" if one.reason else "–"
    return ", ".join(f"`{policy}`" for policy in one.policies) or nothing


def _row(*cells: str | None) -> str:
    escaped = ((cell or "").replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


PAGES = {"settings.md": settings, "cli.md": command_line, "metrics.md": metric_list, "packs.md": packs}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
