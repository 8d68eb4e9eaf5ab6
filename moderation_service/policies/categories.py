"""The taxonomies that a policy maps to, and countries: for people and clients to read. They judge nothing."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from moderation_service.contracts.statement import DsaCategory

OpenAICategory = Literal[
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
]
"""What OpenAI's clients expect in a moderation answer."""

AiluminateCategory = Literal[
    "violent_crimes",
    "nonviolent_crimes",
    "sex_related_crimes",
    "child_sexual_exploitation",
    "indiscriminate_weapons_cbrne",
    "suicide_and_self_harm",
    "hate",
    "privacy",
    "intellectual_property",
    "defamation",
    "sexual_content",
    "specialized_advice",
]
"""The hazards of MLCommons' AILuminate, version 1.0 (https://arxiv.org/abs/2503.05731)."""

Taxonomy = Literal["ailuminate", "dsa", "openai"]
CATEGORIES: Mapping[Taxonomy, tuple[str, ...]] = {
    "ailuminate": get_args(AiluminateCategory),
    "dsa": get_args(DsaCategory),
    "openai": get_args(OpenAICategory),
}
"""By taxonomy."""

COUNTRIES = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()  # noqa: SIM905 - 249 strings in quotes are hard to read
)
"""ISO 3166-1 alpha-2."""


def _listed(given: object) -> object:
    """What a file says in a field that takes one or several: a string, a list, or null."""
    if given is None:
        return ()
    return (given,) if isinstance(given, str | bool | int) else given


def _as_said(categories: Sequence[str]) -> str | Sequence[str] | None:
    """One category as a string, so that the digests of policies from before there were lists stay as they are."""
    return categories if len(categories) > 1 else next(iter(categories), None)


def _country(code: str) -> str:
    if code not in COUNTRIES:
        hint = {"UK": "should be GB", "EU": "should be its member states, as DE, FR"}.get(code)
        msg = f"{code!r} is no country; {hint or 'should be a code of ISO 3166-1, as DE or US'}"
        raise ValueError(msg)
    return code


def _no_is_norway(countries: object) -> object:
    """YAML takes NO without quotes for false."""
    return tuple("NO" if one is False else one for one in countries) if isinstance(countries, tuple) else countries


NoIsNorway = BeforeValidator(_no_is_norway)
CountryCode = Annotated[str, AfterValidator(_country)]
OpenAICategories = Annotated[
    tuple[OpenAICategory, ...],
    BeforeValidator(_listed, json_schema_input_type=OpenAICategory | list[OpenAICategory] | None),
    PlainSerializer(_as_said),
]
DsaCategories = Annotated[
    tuple[DsaCategory, ...],
    BeforeValidator(_listed, json_schema_input_type=DsaCategory | list[DsaCategory] | None),
    PlainSerializer(_as_said),
]
AiluminateCategories = Annotated[
    tuple[AiluminateCategory, ...],
    BeforeValidator(_listed, json_schema_input_type=AiluminateCategory | list[AiluminateCategory] | None),
    PlainSerializer(_as_said),
]
