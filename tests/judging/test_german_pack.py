"""A pack in German alone: what is asked, explained and stated."""

from pathlib import Path

import pytest

from moderation_service.app.compose import UNCALIBRATED, check_packs
from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.contracts.enums import Mode
from moderation_service.errors import Misconfigured
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.settings import PolicySettings, Settings
from tests.judging.conftest import Ask, MakeJudge, make_image
from tests.judging.engines import RuleEngine
from tests.policies.german import german_pack


@pytest.fixture
def german(tmp_path: Path) -> PolicyPack:
    return load_pack(german_pack(tmp_path / "pack"))


async def test_every_post_is_asked_about_in_german_and_its_own_language_is_told(
    make_judge: MakeJudge, ask: Ask, german: PolicyPack, engine: RuleEngine
) -> None:
    judge = await make_judge(german)
    tagged = await ask(judge, "sell", language="fr-CA")
    japanese = await ask(judge, "拳銃販売、国内発送、価格交渉可")
    for verdict in (tagged, japanese):
        assert verdict.content.language == "de"
    assert (tagged.post_language, tagged.detected_language) == ("fr-CA", None)
    assert (japanese.post_language, japanese.detected_language) == (None, "ja")
    assert {request.questionnaire for request in engine.requests} == {german.questionnaire("de", Mode.ENFORCE)}


async def test_explanation_and_statement_are_in_german(make_judge: MakeJudge, ask: Ask, german: PolicyPack) -> None:
    verdict = await ask(await make_judge(german, explain="template"), "sell", make_image(), surface="market")
    assert verdict.explanation == (
        "Verkauf von Waffen: nur Bild und Worte zusammen verstoßen dagegen"
        " (zusammen 0.95, nur Worte 0.10, nur Bild 0.10)."
    )
    statement = verdict.statement_of_reasons
    assert statement
    assert statement.incompatible_content_ground == "Richtlinie „Verkauf von Waffen“ (weapon_sale), Version 1"
    assert statement.decision_facts.endswith("Die Entscheidung zu sperren wurde automatisch getroffen.")


async def test_a_shadow_pack_in_another_language_is_asked_in_its_own(
    make_judge: MakeJudge, ask: Ask, german: PolicyPack, pack: PolicyPack, engine: RuleEngine
) -> None:
    judge = await make_judge(pack, shadow_pack=german)
    verdict = await ask(judge, "九成新，价格私聊")
    assert verdict.content.language == "zh"
    assert {request.questionnaire.language for request in engine.requests} == {"de", "zh"}
    assert len(verdict.shadow) == len(german.policies)


async def test_a_model_that_writes_english_for_a_german_pack_is_replaced_by_the_template(
    make_judge: MakeJudge, ask: Ask, german: PolicyPack, engine: RuleEngine
) -> None:
    judge = await make_judge(german, explain="generate")
    assert (await ask(judge, "sell", make_image())).explanation_kind == "template"
    engine.words = "Das Bild zeigt eine Waffe. Die Worte bieten sie zum Verkauf an."
    assert (await ask(judge, "sell it", make_image())).explanation == engine.words


def test_a_language_that_the_pack_lacks_cannot_be_set(german: PolicyPack) -> None:
    settings = Settings(policies=PolicySettings(language="en"))
    with pytest.raises(Misconfigured, match=r"policies.language: en is not .* should be auto, or one of de"):
        check_packs(settings, (german,), None, UNCALIBRATED)


async def test_a_shadow_pack_is_asked_in_the_language_that_it_would_judge_in_if_it_were_in_force(
    make_judge: MakeJudge, ask: Ask, german: PolicyPack, tmp_path: Path, engine: RuleEngine
) -> None:
    """A new translation is tried in shadow on the posts that it is for, also where another post has the same words."""
    candidate = load_pack(german_pack(tmp_path / "candidate", es="Di:", en="Say:"))
    judge = await make_judge(german, shadow_pack=candidate)
    for language in ("es", "en"):
        engine.calls.clear()
        verdict = await ask(judge, "sell", language=language)
        asked = {request.questionnaire for request in engine.requests}
        assert verdict.content.language == "de"
        assert candidate.questionnaire(language, Mode.ENFORCE) in asked


async def test_each_pack_is_prepared_in_its_own_languages(
    make_judge: MakeJudge, german: PolicyPack, tmp_path: Path, engine: RuleEngine
) -> None:
    candidate = load_pack(german_pack(tmp_path / "candidate", es="Di:", en="Say:"))
    prepared = list[Questionnaire]()

    async def prepare(questionnaire: Questionnaire) -> None:
        prepared.append(questionnaire)

    engine.prepare = prepare  # type: ignore[method-assign]
    await (await make_judge(german, shadow_pack=candidate)).prepare()
    wanted = [candidate.questionnaire(language, Mode.ENFORCE) for language in candidate.languages]
    assert prepared == [german.questionnaire("de", Mode.ENFORCE), *wanted]
