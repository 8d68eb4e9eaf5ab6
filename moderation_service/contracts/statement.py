"""A draft of the statement of reasons that the EU's Digital Services Act asks for (articles 17 and 24(5)).

Names, codes and lengths are those of the DSA Transparency Database's API, second schema (in force since July 2025),
so that a finished draft can be sent as it is. Fields that are left out here are null there.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field

from moderation_service.contracts.base import Contract, Identifier

DsaCategory = Literal[
    "STATEMENT_CATEGORY_ANIMAL_WELFARE",
    "STATEMENT_CATEGORY_CONSUMER_INFORMATION",
    "STATEMENT_CATEGORY_CYBER_VIOLENCE",
    "STATEMENT_CATEGORY_CYBER_VIOLENCE_AGAINST_WOMEN",
    "STATEMENT_CATEGORY_DATA_PROTECTION_AND_PRIVACY_VIOLATIONS",
    "STATEMENT_CATEGORY_ILLEGAL_OR_HARMFUL_SPEECH",
    "STATEMENT_CATEGORY_INTELLECTUAL_PROPERTY_INFRINGEMENTS",
    "STATEMENT_CATEGORY_NEGATIVE_EFFECTS_ON_CIVIC_DISCOURSE_OR_ELECTIONS",
    "STATEMENT_CATEGORY_NOT_SPECIFIED_NOTICE",
    "STATEMENT_CATEGORY_OTHER_VIOLATION_TC",
    "STATEMENT_CATEGORY_PROTECTION_OF_MINORS",
    "STATEMENT_CATEGORY_RISK_FOR_PUBLIC_SECURITY",
    "STATEMENT_CATEGORY_SCAMS_AND_FRAUD",
    "STATEMENT_CATEGORY_SELF_HARM",
    "STATEMENT_CATEGORY_UNSAFE_AND_PROHIBITED_PRODUCTS",
    "STATEMENT_CATEGORY_VIOLENCE",
]
OTHER_VIOLATION: DsaCategory = "STATEMENT_CATEGORY_OTHER_VIOLATION_TC"
"""Of what no policy's category names: a violation of the platform's terms."""
Country = Literal[
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE",
    "IS", "IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
]  # fmt: skip
"""The countries of the European Economic Area."""
EEA: tuple[Country, ...] = get_args(Country)

MAX_GROUND = 500
MAX_EXPLANATION = 2000
MAX_FACTS = 5000
MAX_REDRESS = 2000

Ground = Annotated[str, Field(max_length=MAX_GROUND)]
Explained = Annotated[str, Field(max_length=MAX_EXPLANATION)]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class StatementOfReasons(Contract):
    """What is known once a post is judged. It names no person, quotes nothing of the post and tells no score.

    `redress` is for the author (article 17(3)(f)); the database has no such field, so leave it out there.

    Of a post for review nothing is restricted yet: `decision_visibility` is empty and `application_date` null until
    a person decides, and the database takes no such statement. `content_date` and `content_language` are as the post
    gives them, else null.
    """

    decision_visibility: tuple[Literal["DECISION_VISIBILITY_CONTENT_DISABLED"], ...]
    decision_ground: Literal["DECISION_GROUND_ILLEGAL_CONTENT", "DECISION_GROUND_INCOMPATIBLE_CONTENT"]
    decision_ground_reference_url: str | None
    illegal_content_legal_ground: Ground | None
    illegal_content_explanation: Explained | None
    incompatible_content_ground: Ground | None
    incompatible_content_explanation: Explained | None
    category: DsaCategory
    category_addition: tuple[DsaCategory, ...]
    content_type: tuple[Literal["CONTENT_TYPE_IMAGE", "CONTENT_TYPE_TEXT"], ...]
    content_language: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None
    content_date: Day | None
    application_date: Day | None
    territorial_scope: tuple[Country, ...]
    decision_facts: Annotated[str, Field(max_length=MAX_FACTS)]
    source_type: Literal["SOURCE_VOLUNTARY"] = "SOURCE_VOLUNTARY"
    automated_detection: Literal["Yes"] = "Yes"
    automated_decision: Literal["AUTOMATED_DECISION_FULLY", "AUTOMATED_DECISION_PARTIALLY"]
    puid: Identifier
    redress: Annotated[str, Field(max_length=MAX_REDRESS)] | None = None
