"""A report's files: CSV (RFC 4180, UTF-8), and one HTML page without outside addresses and without scripts."""

import csv
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from moderation_service.console.transparency import template
from moderation_service.console.transparency.accuracy import in_words
from moderation_service.console.transparency.tables import Row, TransparencyReport, tables, unfilled
from moderation_service.contracts.enums import STRONGEST_FIRST
from moderation_service.readers.bank_files import to_cell

PAGE = "report.html"
_S_PER_HOUR = 3600


def write(report: TransparencyReport, folder: Path) -> list[Path]:
    """Write all files, over those of an earlier report; their paths. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (header, rows) in tables(report).items():
        path = folder / name
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(map(_guarded, (header, *rows)))
        written.append(path)
    path = folder / PAGE
    path.write_text(page(report), encoding="utf-8")
    return [*written, path]


def _guarded(row: Row) -> Iterable[str | int | None]:
    """Text that a spreadsheet would run as a formula begins with an apostrophe (OWASP, "CSV Injection")."""
    return (to_cell(cell) if isinstance(cell, str) else cell for cell in row)


def page(report: TransparencyReport) -> str:
    """The report for people to read."""
    environment = Environment(
        loader=PackageLoader("moderation_service.console.transparency", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.filters["duration"] = _duration
    figures, accuracy = report.figures, report.accuracy
    used = {measure.category for measure in figures.measures}
    names = {category.code: category.description for category in template.categories()}
    labelled = [language for language in template.LANGUAGES if accuracy[language].labels]
    return environment.get_template(PAGE).render(
        report=report,
        figures=figures,
        decisions=STRONGEST_FIRST,
        categories=[("All", {}), *((name, {"category": code}) for code, name in names.items() if code in used)],
        times=[("by automated means", figures.automated_hours), ("by people", figures.people_hours)],
        accuracy=[("all", accuracy[None]), *((language, accuracy[language]) for language in labelled)],
        silent=[language for language in template.LANGUAGES if language not in labelled],
        in_words=in_words,
        unfilled=list(unfilled(report)),
    )


def _duration(hours: float | None) -> str:
    if hours is None:
        return "–"
    return f"{hours:,.1f} hours" if hours >= 1 else f"{hours * _S_PER_HOUR:,.1f} s"
