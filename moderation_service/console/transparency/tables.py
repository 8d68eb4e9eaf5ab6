"""The tables of a report in the template's layout, and what they leave open. Pure.

Tables 3 (orders), 4 (notices) and 10 (recipients) are of what happens outside of this service.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from moderation_service.console.transparency import template
from moderation_service.console.transparency.accuracy import Accuracy, in_words, rate_of_error
from moderation_service.console.transparency.figures import Period, PeriodFigures
from moderation_service.contracts.enums import Decision
from moderation_service.policies.pack import PolicyPack

Row = Sequence[str | int]
_BY_WHOM = tuple(zip(template.AUTOMATED_MEASURES, (True, False), strict=True))


class TransparencyReport(NamedTuple):
    """All that a report is made of. `accuracy`: of all languages under None, and of each official one."""

    service: str
    period: Period
    figures: PeriodFigures
    accuracy: Mapping[str | None, Accuracy]
    pack: PolicyPack


class Unfilled(NamedTuple):
    """A part of the template that this service can't fill."""

    table: str
    what: str
    why: str
    where: str


def tables(report: TransparencyReport) -> dict[str, tuple[Row, list[Row]]]:
    """Header and rows by file name."""
    return {
        "1_report_identification.csv": (template.IDENTIFICATION, list(_identification(report))),
        "2_categories_names.csv": (template.NAMES, list(_names(report))),
        "5_own_initiative_illegal.csv": _own_initiative(report, "Category of illegal content", illegal=True),
        "6_own_initiative_TC.csv": _own_initiative(
            report, "Category of incompatibility with the provider's terms and conditions", illegal=False
        ),
        "7_appeals_and_recidivism.csv": ((*template.INDICATORS, template.CONTEXT), list(_complaints(report))),
        "8_automated_means.csv": ((*template.INDICATORS, template.CONTEXT), list(_automated_means(report))),
        "9_human_resources.csv": ((*template.INDICATORS, template.PEOPLE_CONTEXT), list(_human_resources(report))),
        "11_qualitative.csv": (template.QUALITATIVE, list(_qualitative(report))),
        "not_filled.csv": (Unfilled._fields, list(unfilled(report))),
    }


def _identification(report: TransparencyReport) -> Iterator[Row]:
    for indicator, value in (
        ("Name of the service provider", ""),
        ("Date of the publication of the report", ""),
        ("Date of the publication of the latest previous report", ""),
        ("Starting date of reporting period", str(report.period.first)),
        ("Ending date of reporting period", str(report.period.last)),
    ):
        yield template.ALL, report.service, indicator, value


def _names(report: TransparencyReport) -> Iterator[Row]:
    yield "TOTAL", "All the entries", "TOTAL", ""
    for category in template.categories():
        own = [policy.id for policy in report.pack.enforced if category.code in policy.dsa_category]
        yield *category, f"Policies: {', '.join(own)}" if own else ""


def _own_initiative(report: TransparencyReport, name: str, *, illegal: bool) -> tuple[Row, list[Row]]:
    header, figures = template.own_initiative(name), report.figures

    def row(code: str, context: str = "", **wanted: object) -> Row:
        measures = figures.count(illegal=illegal, **wanted)
        filled: dict[str, str | int] = {
            "Applicability": template.ALL,
            "Service": report.service,
            "Reporting period": str(report.period),
            name: code,
            template.MEASURES: measures,
            template.DETECTED: figures.count(illegal=illegal, detected=True, **wanted),
            template.DISABLED: measures,
            f"Contextual Information on {template.MEASURES}": context,
        }
        return [filled.get(column, "") for column in header]

    rows = [row("TOTAL", _times(figures))]
    for category in template.of_own_initiative(illegal=illegal):
        if category.is_sub_category:
            rows.append([template.ALL, report.service, str(report.period), category.code, *[""] * (len(header) - 4)])
        else:
            rows.append(row(category.code, category=category.code))
    return header, rows


def _times(figures: PeriodFigures) -> str:
    """The medians, of both grounds together."""
    times = (("by automated means", figures.automated_hours), ("by people", figures.people_hours))
    told = [f"{hours:.4f} hours {whose}" for whose, hours in times if hours is not None]
    return f"Median time from a post's arrival to the measure: {', '.join(told)}" if told else ""


def _complaints(report: TransparencyReport) -> Iterator[Row]:
    """Without any appeal nothing is filled: whether there were complaints elsewhere is not known."""
    found = report.figures.appeals
    hours = "" if found.hours is None else f"{found.hours:.4f}"
    values: dict[str, str | int] = {
        template.TOTAL: found.filed,
        template.UPHELD: found.upheld,
        template.REVERSED: found.reversed,
        template.MEDIAN: hours,
    }
    waiting = found.filed - found.upheld - found.reversed
    for whom, section, indicator, scope in template.complaints():
        known = found.filed and indicator in {template.COMPLAINTS, template.COMPLAINTS_OF_REMOVAL}
        context = f"{waiting} of them are not decided yet" if known and waiting and scope == template.TOTAL else ""
        value = values.get(scope, "") if known else ""
        yield whom, report.service, str(report.period), section, indicator, scope, value, context


def _automated_means(report: TransparencyReport) -> Iterator[Row]:
    for whom, indicator, scope, value, context in (*_of_scopes(report), *_of_languages(report)):
        common = (whom, report.service, str(report.period), template.AUTOMATED_SECTION)
        yield *common, indicator, scope, value, context


def _of_scopes(report: TransparencyReport) -> Iterator[tuple[str, str, str, str | int, str]]:
    """All measures are own-initiative, so that their figures are those of the total."""
    for scope in (template.TOTAL, template.OWN_INITIATIVE):
        for indicator, automated in _BY_WHOM:
            yield template.ALL, indicator, scope, report.figures.count(automated=automated), ""
        for indicator, value, context in _accuracy(report.accuracy[None]):
            yield template.ALL, indicator, scope, value, context
    for whom, scope in ((template.HOSTING, template.NOTICES), (template.PLATFORMS, template.FLAGGER_NOTICES)):
        for indicator in (*template.AUTOMATED_NOTICES, *template.ACCURACY):
            yield whom, indicator, scope, "", ""


def _of_languages(report: TransparencyReport) -> Iterator[tuple[str, str, str, str | int, str]]:
    for indicator, automated in _BY_WHOM:
        for language in template.LANGUAGES:
            measures = report.figures.count(automated=automated, language=language)
            yield template.VLOPS, indicator, language, measures, ""
    by_language = [(language, tuple(_accuracy(report.accuracy[language]))) for language in template.LANGUAGES]
    for at in range(len(template.ACCURACY)):
        for language, found in by_language:
            indicator, value, context = found[at]
            yield template.VLOPS, indicator, language, value, context


def _accuracy(found: Accuracy) -> Iterator[tuple[str, str, str]]:
    """Indicator, value and context, in the template's order."""
    for indicator, estimate in zip(template.ACCURACY, (found.accuracy, found.precision, found.recall), strict=True):
        yield indicator, "" if estimate.value is None else f"{estimate.value:.4f}", in_words(estimate)


def _human_resources(report: TransparencyReport) -> Iterator[Row]:
    figures = report.figures
    known = f"{figures.reviewers} accounts of reviewers made {figures.reviews} decisions on posts in the period."
    rows = [(template.INTERNAL, template.TOTAL, known), (template.EXTERNAL, template.TOTAL, "")]
    rows += [(template.LINGUISTIC, scope, "") for scope in (template.TOTAL, *template.LANGUAGES)]
    for indicator, scope, context in rows:
        common = (template.VLOPS, report.service, str(report.period), template.PEOPLE_SECTION)
        yield *common, indicator, scope, "", context


def _qualitative(report: TransparencyReport) -> Iterator[Row]:
    drafts = {
        template.MEANS: _means(report),
        template.RATE_OF_ERROR: rate_of_error(report.accuracy[None]),
        template.SAFEGUARDS: _safeguards(report),
    }
    for whom, indicator in template.DESCRIPTIONS:
        yield whom, report.service, str(report.period), indicator, drafts.get(indicator, "")


def _means(report: TransparencyReport) -> str:
    models = f" ({', '.join(sorted(report.figures.models))})" if report.figures.models else ""
    return (
        f"A vision-language model{models} scores each post, its words and images together, against"
        f" {len(report.pack.enforced)} written policies."
    )


def _safeguards(report: TransparencyReport) -> str:
    decisions, looked_at = report.figures.decisions, report.figures.looked_at
    sent = decisions[Decision.REVIEW] + decisions[Decision.ABSTAIN]
    audited = report.accuracy[None].labels
    audits = f" A random sample of all decisions is judged blind: {audited} in the period." if audited else ""
    return (
        f"Of {decisions.total()} verdicts, {sent} were left to a person, as the score was between two thresholds or"
        f" not all of the post could be judged. People decided {looked_at.of} automatic blocks again and reversed"
        f" {looked_at.yes} of them.{audits}"
    )


def unfilled(report: TransparencyReport) -> Iterator[Unfilled]:
    """What the owner has to add, and from where."""
    yield Unfilled("1", "Name of the service provider, dates of publication", "not in any record", "your legal team")
    yield Unfilled("3", "all: orders of Member States", "authorities send them to you", "your legal team's register")
    yield Unfilled(
        "4",
        "all: notices",
        "the service does not know which posts were noticed; if you publish noticed posts to it, their measures are"
        " counted as own-initiative",
        "your notice-and-action form; move those measures from tables 5 and 6",
    )
    yield Unfilled(
        "5, 6",
        "sub-categories; restrictions other than disabled content",
        "statements of reasons here name a category only, and the platform imposes all other restrictions",
        "your platform's records of sanctions",
    )
    for illegal, table in ((True, "5"), (False, "6")):
        rows = {category.code for category in template.of_own_initiative(illegal=illegal)}
        used = sorted({measure.category for measure in report.figures.measures if measure.illegal is illegal} - rows)
        for code in used:
            number = report.figures.count(illegal=illegal, category=code)
            yield Unfilled(
                table,
                f"{code}: {number} measures stand in TOTAL alone",
                "the template has no such row in this table",
                "set dsa_category, or remove statement.legal_ground, in the policy's file",
            )
    yield Unfilled(
        "7",
        "complaints that were not filed by POST /v1/appeals; other decisions; disputes; suspensions",
        "only appeals against blocks that the API was told of are recorded",
        "your complaint-handling system, dispute bodies, sanctions",
    )
    yield Unfilled("8", "notices (NAM)", "as table 4", "your notice-and-action form")
    unknown = report.figures.count(language=None)
    if unknown:
        yield Unfilled(
            "8", f"the language of {unknown} measures", "their posts named none", "`language` in the posts you publish"
        )
    yield Unfilled(
        "9", "moderators, their languages", "an account does not say who employs whom", "your human resources"
    )
    yield Unfilled("10", "all: average monthly active recipients", "the service sees posts, not visitors", "analytics")
    yield Unfilled(
        "11", "all but three drafts, which you must check", "they describe your organisation", "your policy team"
    )
