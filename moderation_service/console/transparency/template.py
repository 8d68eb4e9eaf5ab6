"""The Commission's templates of a DSA transparency report: their files, columns and rows, as far as they are filled.

Source: Annex I of Implementing Regulation (EU) 2024/2835 (http://data.europa.eu/eli/reg_impl/2024/2835/oj). The names
are those of the Commission's CSV files, as reports that platforms published in them have them: to the letter, with the
spaces that some end in, so that tools that read the template read these files.
"""

import csv
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

LANGUAGES = (
    "bg", "hr", "cs", "da", "nl", "en", "et", "fi", "fr", "de", "el", "hu",
    "ga", "it", "lv", "lt", "mt", "pl", "pt", "ro", "sk", "sl", "es", "sv",
)  # fmt: skip
"""The official languages of the Union, as the template orders them."""

ALL, HOSTING = "All", "Only for providers of hosting services, including online platforms"
TOTAL = "Total number"
PLATFORMS, VLOPS = "Only for providers of online platforms", "Only for VLOPs"

IDENTIFICATION = ("Applicability", "Service", "Indicator", "Value")
NAMES = (
    "Category label",
    "Category description",
    "Category of illegal content / incompatible with the terms and conditions",
    "Contextual information",
)
INDICATORS = ("Applicability", "Service", "Reporting period", "Section", "Indicator", "Scope", "Value")
CONTEXT = "Contextual Information"
PEOPLE_CONTEXT = "Contextual information"
QUALITATIVE = ("Applicability", "Service", "Reporting period", "Indicator", "Value")

MEASURES, DETECTED, DISABLED = (
    "Number of measures taken at the provider's own initiative ",
    "Number of measures taken after detection with solely automated means ",
    "Visibility restriction Disable",
)
_COUNTED = (
    MEASURES,
    DETECTED,
    "Visibility restriction Removal",
    DISABLED,
    "Visibility restriction Demoted",
    "Visibility restriction Age restricted",
    "Visibility restriction Interaction restricted",
    "Visibility restriction Labelled ",
    "Visibility restriction Other",
    "Monetary restriction Suspension",
    "Monetary restriction Termination",
    "Monetary restriction Other",
    "Provision of the service Suspension",
    "Provision of the service Termination",
    "Account restriction Suspension",
    "Account restriction Termination",
)


def own_initiative(category: str) -> tuple[str, ...]:
    """The columns of tables 5 and 6, of which `category` is the name of the fourth."""
    context = (f"Contextual Information on {name}" for name in _COUNTED)
    other = 'Description of the sub-category "Other"'
    return ("Applicability", "Service", "Reporting period", category, other, *_COUNTED, *context)


COMPLAINTS_SECTION = "Internal complaints mechanism"
COMPLAINTS = "Number of complaints submitted to the internal-complaints mechanism"
NEWLY_IMPOSED = "Number of restrictions newly imposed as a result of an internal complaint"
COMPLAINTS_OF_REMOVAL = (
    "Complaint regarding a decision to remove or disable access to or restrict visibility of information"
)
_NO_ACTION = "Complaint regarding a decision not to take action on a notice submitted"
_OTHER_COMPLAINTS = (
    "Complaint regarding a decision to suspend or terminate the provision of the service",
    "Complaint regarding a decision to suspend or terminate an account ",
    "Complaint regarding a decision to restrict the ability to monetise information",
    f"{_NO_ACTION} in accordance with Article 16",
    f"{_NO_ACTION} by a Trusted Flagger in accordance with Article 16",
)
UPHELD, REVERSED, MEDIAN, OMITTED = "Decisions upheld", "Decisions reversed", "Median time", "Decision omitted"
_OUTCOMES = (UPHELD, "Decisions partially reversed", REVERSED, MEDIAN)
DISPUTES_SECTION = "Out-of-court dispute settlement bodies"
_DISPUTES = "Number of disputes submitted to out-of-court dispute settlement bodies"
SUSPENSIONS_SECTION = "Suspensions imposed on repeated offenders"
_SUSPENSIONS = (
    "Number of suspensions enacted for the provision of manifestly illegal content ",
    "Number of suspensions enacted for the provision of manifestly unfounded notices",
    "Number of suspensions enacted for the provision of manifestly unfounded complaints",
)


def complaints() -> Iterator[tuple[str, str, str, str]]:
    """Applicability, section, indicator and scope of the rows of table 7."""
    yield ALL, COMPLAINTS_SECTION, COMPLAINTS, TOTAL
    for scope in (*_OUTCOMES, OMITTED):
        yield PLATFORMS, COMPLAINTS_SECTION, COMPLAINTS, scope
    yield PLATFORMS, COMPLAINTS_SECTION, NEWLY_IMPOSED, TOTAL
    for indicator in (COMPLAINTS_OF_REMOVAL, *_OTHER_COMPLAINTS):
        for scope in (TOTAL, *_OUTCOMES):
            yield PLATFORMS, COMPLAINTS_SECTION, indicator, scope
    for scope in (TOTAL, *_OUTCOMES, OMITTED, "Percentage of outcomes implemented"):
        yield PLATFORMS, DISPUTES_SECTION, _DISPUTES, scope
    for indicator in _SUSPENSIONS:
        yield PLATFORMS, SUSPENSIONS_SECTION, indicator, TOTAL


AUTOMATED_SECTION = "Use of automated means for content moderation"
AUTOMATED_MEASURES = (
    "Number of measures solely taken by automated means ",
    "Number of measures not taken by automated means",
)
AUTOMATED_NOTICES = (
    "Number of notices solely processed by automated means ",
    "Number of notices not processed by automated means",
)
ACCURACY = tuple(f"Accuracy of the automated means - {name}" for name in ("Accuracy", "Precision", "Recall"))
OWN_INITIATIVE = "Own-initiative "
NOTICES, FLAGGER_NOTICES = "NAM Total", "NAM Trusted Flagger"

PEOPLE_SECTION = "Human resources dedicated to content moderation "
INTERNAL, EXTERNAL, LINGUISTIC = (
    "Number of internal moderators employed by the provider",
    "Number of external moderators contracted by the provider",
    "Number of total moderators with sufficient linguistic expertise ",
)

OWN_MODERATION = (
    "Meaningful and comprehensible information regarding content moderation engaged in at the providers' own initiative"
)
MEANS = "Qualitative description of the automated means"
RATE_OF_ERROR = "Qualitative description of indicators of accuracy and possible rate of error of automated means"
SAFEGUARDS = "Safeguards applied to the use of automated means"
DESCRIPTIONS = (
    (ALL, "Summary of the content moderation engaged in at the providers’ own initiative"),
    (ALL, OWN_MODERATION),
    (ALL, MEANS),
    (ALL, RATE_OF_ERROR),
    (ALL, "Specification of the precise purposes to apply automated means"),
    (ALL, SAFEGUARDS),
    (VLOPS, "High-level description of the content moderation governance structure"),
    (VLOPS, "Qualifications of the human resources dedicated to content moderation"),
    (VLOPS, "Training given to human resources dedicated to content moderation"),
    (VLOPS, "Support given to human resources dedicated to content moderation "),
    (VLOPS, "Methodology used to compute the number of human resources dedicated to content moderation  "),
)


class Category(NamedTuple):
    """A category, or with the code KEYWORD_... a sub-category of the one before."""

    label: str
    description: str
    code: str

    @property
    def is_sub_category(self) -> bool:
        """Whether a statement of reasons names it by a keyword, which drafts here do not have."""
        return self.code.startswith("KEYWORD_")


@cache
def categories() -> tuple[Category, ...]:
    """All, as table 2 lists them."""
    with (Path(__file__).parent / "categories.csv").open(encoding="utf-8", newline="") as file:
        return tuple(Category(**row) for row in csv.DictReader(file))


@cache
def of_own_initiative(*, illegal: bool) -> tuple[Category, ...]:
    """Those of table 5 (illegal content: 1 to 14) or 6 (the terms and conditions: 1 to 15)."""
    codes = [category.code for category in categories()]
    end = "STATEMENT_CATEGORY_OTHER_VIOLATION_TC" if illegal else "STATEMENT_CATEGORY_NOT_SPECIFIED_ORDER"
    return categories()[: codes.index(end)]
