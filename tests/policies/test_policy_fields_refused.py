"""A wrong field is refused with file, line, field and what would be right."""

from collections.abc import Callable

import pytest

Edit = Callable[[str, str], str]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(
            "version: 1",
            "version: 0",
            "weapon_sale.yaml:2: version: 0 is out of range;"
            " should be a whole number from 1, one more with each change of what is judged",
            id="version under 1",
        ),
        pytest.param(
            "version: 1",
            "version: one",
            "weapon_sale.yaml:2: version: 'one' cannot stand here;"
            " should be a whole number from 1, one more with each change of what is judged",
            id="version no number",
        ),
        pytest.param(
            "title: {en: Sale of weapons, zh: 武器交易}",
            "title: {en: Sale of weapons}",
            "weapon_sale.yaml:4: question: is in en, zh and title in en; should be in the same languages\n"
            "weapon_sale.yaml:7: definition: is in en, zh and title in en; should be in the same languages",
            id="missing language",
        ),
        pytest.param(
            "title: {en: Sale of weapons, zh: 武器交易}",
            "title: {en: Sale of weapons, chinese: 武器交易}",
            "weapon_sale.yaml:3: title.chinese: is no language tag; should be one of BCP 47, as en, de or zh-Hant",
            id="a word for a tag",
        ),
        pytest.param(
            "title: {en: Sale of weapons, zh: 武器交易}",
            "title: {en: Sale of weapons, zh_CN: 武器交易}",
            "weapon_sale.yaml:3: title.zh_CN: is no language tag; should be one of BCP 47, as en, de or zh-Hant",
            id="a locale for a tag",
        ),
        pytest.param(
            "title: {en: Sale of weapons, zh: 武器交易}",
            "title: {en: Sale of weapons, CMN-hans: 武器交易}",
            "weapon_sale.yaml:3: title.CMN-hans: is not in canonical form; should be zh-Hans",
            id="no canonical tag",
        ),
        pytest.param(
            "title: {en: Sale of weapons, zh: 武器交易}",
            "title: {}",
            "weapon_sale.yaml:3: title: is empty; should be a name for people, by language, as en: and de:",
            id="no language",
        ),
        pytest.param(
            "  en: A weapon is offered.",
            "  en: ' '",
            "weapon_sale.yaml:8: definition.en: is empty; should be words in that language",
            id="blank words",
        ),
        pytest.param(
            "  en: A weapon is offered.",
            "  en:",
            "weapon_sale.yaml:8: definition.en: nothing cannot stand here; should be words in that language",
            id="no words",
        ),
        pytest.param(
            "  en: Does it sell a weapon?",
            "  en: A weapon is shown. Is it for sale?",
            "weapon_sale.yaml:5: question.en: has more than one sentence;"
            " should be one question, the rest belongs in definition",
            id="two sentences",
        ),
        pytest.param(
            "  zh: 是否出售武器？",
            "  zh: 有武器吗？是否出售？",
            "weapon_sale.yaml:6: question.zh: has more than one sentence;"
            " should be one question, the rest belongs in definition",
            id="two Chinese sentences",
        ),
        pytest.param(
            "  en: Does it sell a weapon?",
            "  en: It sells a weapon.",
            "weapon_sale.yaml:5: question.en: is not a question; should end with a question mark",
            id="no question",
        ),
        pytest.param(
            "  en: Does it sell a weapon?",
            f"  en: Does it sell a {'very ' * 40}sharp knife?",
            "weapon_sale.yaml:5: question.en: has 227 characters; should have at most 200",
            id="long question",
        ),
        pytest.param(
            "severity: 4",
            "severity: 6",
            "weapon_sale.yaml:13: severity: 6 is out of range; should be a whole number from 1 (mild) to 5 (gravest)",
            id="severity over 5",
        ),
        pytest.param(
            "severity: 4\n",
            "",
            "weapon_sale.yaml:1: severity: is missing; should be a whole number from 1 (mild) to 5 (gravest)",
            id="severity missing",
        ),
        pytest.param(
            "  review: 0.5",
            "  review: 0.95",
            "weapon_sale.yaml:16: thresholds.block: 0.9 is under review (0.95); should be at least 0.95",
            id="review over block",
        ),
        pytest.param(
            "  block: 0.9",
            "  block: 90",
            "weapon_sale.yaml:16: thresholds.block: 90 is out of range;"
            " should be a score over 0 and at most 1, not under review, or null where no score blocks",
            id="percent",
        ),
        pytest.param(
            "  review: 0.5",
            "  review: .nan",
            "weapon_sale.yaml:15: thresholds.review: nan is out of range;"
            " should be a score over 0 and at most 1, not over block",
            id="not a number",
        ),
        pytest.param(
            "mode: enforce",
            "mode: enforced",
            "weapon_sale.yaml:17: mode: 'enforced' is unknown; did you mean enforce?",
            id="unknown mode",
        ),
        pytest.param(
            "mode: enforce",
            "mode: live",
            "weapon_sale.yaml:17: mode: 'live' is unknown; should be one of enforce, shadow",
            id="very unknown mode",
        ),
        pytest.param(
            "STATEMENT_CATEGORY_UNSAFE_AND_PROHIBITED_PRODUCTS",
            "STATEMENT_CATEGORY_UNSAFE_AND_ILLEGAL_PRODUCTS",
            "weapon_sale.yaml:18: dsa_category: 'STATEMENT_CATEGORY_UNSAFE_AND_ILLEGAL_PRODUCTS' is unknown;"
            " did you mean STATEMENT_CATEGORY_UNSAFE_AND_PROHIBITED_PRODUCTS?",
            id="category of the first DSA schema",
        ),
        pytest.param(
            "openai_category: illicit/violent",
            "openai_category: [illicit, illicit/violence]",
            "weapon_sale.yaml:19: openai_category[1]: 'illicit/violence' is unknown; did you mean illicit/violent?",
            id="unknown category in a list",
        ),
        pytest.param(
            "openai_category:",
            "jurisdictions: [DE, UK]\nopenai_category:",
            "weapon_sale.yaml:19: jurisdictions[1]: 'UK' is no country; should be GB",
            id="no country",
        ),
        pytest.param(
            "openai_category:",
            "statement: {territorial_scope: [DE, GB]}\nopenai_category:",
            "weapon_sale.yaml:19: statement.territorial_scope[1]: 'GB' is unknown; should be one of AT, BE, BG, CY, CZ,"
            " DE, DK, EE, ES, FI, FR, GR, HR, HU, IE, IS, IT, LI, LT, LU, LV, MT, NL, NO, PL, PT, RO, SE, SI, SK",
            id="country out of the DSA",
        ),
        pytest.param(
            "openai_category:",
            "statement: {reference_url: our terms}\nopenai_category:",
            "weapon_sale.yaml:19: statement.reference_url: 'our terms' cannot stand here;"
            " should be the address of the terms or the law, as https://example.com/terms, or null",
            id="reference no address",
        ),
        pytest.param(
            "illicit/violent",
            "illicit/violence",
            "weapon_sale.yaml:19: openai_category: 'illicit/violence' is unknown; did you mean illicit/violent?",
            id="unknown OpenAI category",
        ),
        pytest.param(
            "[text, image]",
            "[text, images]",
            "weapon_sale.yaml:11: scope.modalities[1]: 'images' is unknown; did you mean image?",
            id="unknown modality",
        ),
        pytest.param(
            "[text, image]",
            "[]",
            "weapon_sale.yaml:11: scope.modalities: is empty;"
            " should be a list of text and image; the post must have at least one of them",
            id="no modality",
        ),
        pytest.param(
            "[market]",
            "market",
            "weapon_sale.yaml:12: scope.surfaces: 'market' cannot stand here;"
            " should be a list of surfaces such as feed or market; empty means all",
            id="no list",
        ),
        pytest.param(
            "thresholds:\n",
            "treshold:\n",
            "weapon_sale.yaml:1: thresholds: is missing; should be two scores, as review and block\n"
            "weapon_sale.yaml:14: treshold: is not a field of a policy; did you mean thresholds?",
            id="misspelt field",
        ),
        pytest.param(
            "  surfaces: [market]",
            "  countries: [CH]",
            "weapon_sale.yaml:12: scope.countries: is not a field of a policy; known here are modalities, surfaces",
            id="unknown field of a group",
        ),
        pytest.param(
            "    text: DM me for the price",
            "    txt: DM me for the price",
            "weapon_sale.yaml:22: cases[0].txt: is not a field of a policy; did you mean text?",
            id="unknown field of a case",
        ),
        pytest.param(
            "mode: enforce",
            "mode: off",
            "weapon_sale.yaml:17: mode: False is not text;"
            " should be in quotes: YAML takes yes, no, on and off for truth",
            id="a word of a list that YAML reads as false",
        ),
        pytest.param(
            "    text: DM me for the price",
            "    text: No",
            "weapon_sale.yaml:22: cases[0].text: False is not text; should be in quotes",
            id="a word that YAML reads as false",
        ),
        pytest.param(
            "    text: DM me for the price",
            "    text: [a, b]",
            "weapon_sale.yaml:22: cases[0].text: a list cannot stand here; should be the post's words",
            id="a list of words",
        ),
        pytest.param(
            "title: {en: Sale of weapons, zh: 武器交易}",
            "title: Sale of weapons",
            "weapon_sale.yaml:3: title: 'Sale of weapons' cannot stand here;"
            " should be a name for people, by language, as en: and de:",
            id="words for a group",
        ),
        pytest.param(
            "title: {en: Sale of weapons, zh: 武器交易}",
            "title: {en: Sale of weapons, zh: {simplified: 武器交易}}",
            "weapon_sale.yaml:3: title.zh: a group of fields cannot stand here; should be words in that language",
            id="a group for words",
        ),
        pytest.param(
            "    surface: market",
            "    language: English",
            "weapon_sale.yaml:23: cases[0].language: 'English' cannot stand here;"
            " should be a language tag such as en or zh-CN",
            id="no language tag",
        ),
        pytest.param(
            "    expect: violation",
            "    expect: deny",
            "weapon_sale.yaml:25: cases[0].expect: 'deny' is unknown; should be one of allow, review, block, violation",
            id="unknown expectation",
        ),
        pytest.param(
            "    attribution: combined",
            "    attribution: none",
            "weapon_sale.yaml:26: cases[0].attribution: none cannot go with expect: violation;"
            " should be image_only, text_only, either, combined or context_mitigated",
            id="attribution of a harmless post",
        ),
        pytest.param(
            "    expect: allow",
            "    expect: allow\n    attribution: combined",
            "weapon_sale.yaml:30: cases[1].attribution: combined cannot go with expect: allow;"
            " should be none or context_mitigated",
            id="attribution of a violation",
        ),
        pytest.param(
            "    text: 今天天气真好\n",
            "",
            "weapon_sale.yaml:27: cases[1]: has neither text nor images; should have one of them",
            id="empty post",
        ),
    ],
)
def test_a_wrong_field_is_refused_with_its_line_and_advice(
    refused_edit: Edit, old: str, new: str, message: str
) -> None:
    """Each fault is one line: file, line, field, what is wrong, what would be right."""
    assert refused_edit(old, new) == message


def test_an_id_is_small_letters_digits_and_underscores(refused_edit: Edit) -> None:
    """An id names metrics, files and answers, so its form is narrow."""
    message = refused_edit("id: weapon_sale", "id: Weapon-Sale")
    assert message.startswith(
        "weapon_sale.yaml:1: id: 'Weapon-Sale' cannot stand here; should be 2 to 64 small letters"
    )


def test_all_faults_of_a_file_are_told_at_once(refused_edit: Edit) -> None:
    """The owner need not run the check once a fault."""
    message = refused_edit("severity: 4\nthresholds:\n", "severity: 9\nthreshold:\n")
    assert [line.split(": ")[:2] for line in message.splitlines()] == [
        ["weapon_sale.yaml:13", "severity"],
        ["weapon_sale.yaml:1", "thresholds"],
        ["weapon_sale.yaml:14", "threshold"],
    ]
