from base64 import b64encode
from io import BytesIO

import pytest
from PIL import Image

from moderation_service.contracts.enums import Mode
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.contracts.verdict import PolicyVerdict, Thresholds, Verdict
from moderation_service.engine.base import ScoreRequest
from moderation_service.judging.calibration import Calibration, Platt
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import MediaSettings
from tests.judging.conftest import Ask, MakeJudge, make_image
from tests.judging.engines import RuleEngine

BROKEN = ImageRef(data="aGVsbG8=")


def part(verdict: Verdict, policy_id: str) -> PolicyVerdict:
    return next(part for part in (*verdict.policies, *verdict.shadow) if part.policy_id == policy_id)


async def test_a_violation_that_only_the_combination_makes_is_blocked_and_named_so(
    make_judge: MakeJudge, ask: Ask
) -> None:
    verdict = await ask(await make_judge(), "I sell this", make_image())
    sale = part(verdict, "weapon_sale")
    assert verdict.decision == "block"
    assert (sale.outcome, sale.violated) == ("block", True)
    assert sale.attribution is not None
    assert sale.attribution.class_ == "combined"
    assert (sale.attribution.text_only, sale.attribution.image_only) == (0.1, 0.1)
    assert verdict.explanation is not None
    assert "only the image and the words together" in verdict.explanation


async def test_a_harmless_post_is_allowed_by_every_policy_without_further_views(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, pack: PolicyPack
) -> None:
    verdict = await ask(await make_judge(), "a museum visit", make_image())
    assert verdict.decision == "allow"
    assert [p.policy_id for p in verdict.policies] == [p.id for p in pack.enforced]
    assert {p.attribution for p in verdict.policies} == {None}
    assert verdict.explanation is None
    assert len(engine.requests) == 1


async def test_views_ask_only_for_the_flagged_and_borderline_policies(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine
) -> None:
    engine.rule = lambda policy_id, _: {"weapon_sale": 0.95, "doxxing": 0.4}.get(policy_id, 0.01)
    verdict = await ask(await make_judge(), "words", make_image())
    joint, *views = engine.requests
    questions = joint.questionnaire.questions
    assert [sorted(questions[i].policy_id for i in view.asked) for view in views] == [["doxxing", "weapon_sale"]] * 2
    assert [(view.text, len(view.images)) for view in views] == [("words", 0), ("", 1)]
    assert part(verdict, "doxxing").attribution is not None
    assert part(verdict, "violence").attribution is None


async def test_views_run_for_all_or_none_where_the_setting_says_so(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine
) -> None:
    always = await ask(await make_judge(attribution="always"), "hello", make_image())
    assert all(p.attribution for p in always.policies)
    never = await ask(await make_judge(attribution="never"), "I sell this", make_image())
    assert part(never, "weapon_sale").violated
    assert not any(p.attribution for p in never.policies)


async def test_a_sampled_share_has_its_views_run_by_the_contents_name(make_judge: MakeJudge, ask: Ask) -> None:
    judge = await make_judge(attribution_sample=0.3, result_cache_size=0)
    posts = [f"hello {n}" for n in range(100)]
    first = [bool((await ask(judge, text, make_image())).policies[0].attribution) for text in posts]
    again = [bool((await ask(judge, text, make_image())).policies[0].attribution) for text in posts]
    assert first == again
    assert 15 < sum(first) < 45


async def test_a_post_of_one_modality_is_attributed_without_a_further_view(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine
) -> None:
    verdict = await ask(await make_judge(), "I will kill you")
    attribution = part(verdict, "violence").attribution
    assert verdict.decision == "review"
    assert attribution is not None
    assert (attribution.class_, attribution.text_only, attribution.image_only) == ("text_only", 0.7, None)
    assert len(engine.requests) == 1


async def test_a_policy_asks_only_posts_in_its_scope(make_judge: MakeJudge, ask: Ask, pack: PolicyPack) -> None:
    verdict = await ask(await make_judge(), "", make_image())
    judged = {p.policy_id for p in verdict.policies}
    assert judged == {p.id for p in pack.enforced if "image" in p.scope.modalities}
    assert "doxxing" not in judged


async def test_an_image_that_can_not_be_judged_makes_an_abstention_and_no_allow(
    make_judge: MakeJudge, ask: Ask
) -> None:
    verdict = await ask(await make_judge(), "hello museum", make_image(), BROKEN)
    assert (verdict.decision, verdict.abstain_reason) == ("abstain", "image_undecodable")
    assert verdict.flags == ("image_missing",)
    assert [image.status for image in verdict.content.images] == ["judged", "undecodable"]


async def test_nothing_to_judge_at_all_is_an_abstention(make_judge: MakeJudge, ask: Ask, engine: RuleEngine) -> None:
    verdict = await ask(await make_judge(), "", ImageRef(url="https://127.0.0.1/x.png"))
    assert (verdict.decision, verdict.abstain_reason, verdict.policies) == ("abstain", "image_unavailable", ())
    assert verdict.content.images[0].status == "refused"
    assert engine.calls == []


async def test_a_missing_image_is_no_way_out_of_a_block(make_judge: MakeJudge, ask: Ask) -> None:
    verdict = await ask(await make_judge(), "I sell this", make_image(), BROKEN)
    assert (verdict.decision, verdict.abstain_reason) == ("block", None)
    assert verdict.flags == ("image_missing",)


async def test_images_beyond_the_limit_are_an_abstention(make_judge: MakeJudge, ask: Ask) -> None:
    verdict = await ask(
        await make_judge(media=MediaSettings(max_images=1)), "hello museum", make_image(), make_image("blue")
    )
    assert (verdict.decision, verdict.abstain_reason) == ("abstain", "image_skipped")


async def test_a_low_label_mass_is_an_abstention(make_judge: MakeJudge, ask: Ask, engine: RuleEngine) -> None:
    engine.mass = 0.3
    verdict = await ask(await make_judge(), "hello")
    assert (verdict.decision, verdict.abstain_reason) == ("abstain", "label_mass_low")


async def test_a_score_of_little_label_mass_neither_blocks_nor_flags(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine
) -> None:
    engine.mass = 4e-6
    for settings in ({}, {"attribution": "always"}):
        verdict = await ask(await make_judge(**settings), "I sell this", make_image())
        sale = part(verdict, "weapon_sale")
        assert (verdict.decision, verdict.abstain_reason) == ("abstain", "label_mass_low")
        assert sale.score >= sale.thresholds.block
        assert (sale.outcome, sale.violated, sale.attribution) == ("allow", False, None)
        assert verdict.statement_of_reasons is None


async def test_a_pass_of_little_label_mass_attributes_nothing(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine
) -> None:
    engine.mass = lambda request: 1.0 if request.text and request.images else 0.2
    sale = part(await ask(await make_judge(), "I sell this", make_image()), "weapon_sale")
    assert (sale.outcome, sale.violated, sale.attribution) == ("block", True, None)


async def test_a_policy_without_a_calibration_sends_to_review_unless_the_owner_lets_it_block(
    make_judge: MakeJudge, ask: Ask
) -> None:
    def outcomes(verdict: Verdict) -> tuple[str, str, bool]:
        sale = part(verdict, "weapon_sale")
        return verdict.decision, sale.outcome, sale.violated

    capped = await ask(await make_judge(block_uncalibrated=False), "I sell this", make_image())
    assert outcomes(capped) == ("review", "review", True)
    own = Calibration("sha256:" + "c" * 64, {"weapon_sale": Platt(slope=1, intercept=0)})
    calibrated = await ask(await make_judge(block_uncalibrated=False, calibration=own), "I sell this", make_image())
    assert outcomes(calibrated) == ("block", "block", True)
    let = await ask(await make_judge(block_uncalibrated=True), "I sell this", make_image())
    assert outcomes(let) == ("block", "block", True)


@pytest.mark.parametrize(("alone", "decision"), [(0.95, "review"), (0.89, "allow")])
async def test_one_modality_that_would_be_blocked_alone_is_not_diluted_by_the_other(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, alone: float, decision: str
) -> None:
    def diluted(policy_id: str, request: ScoreRequest) -> float:
        if policy_id != "violence":
            return 0.01
        return 0.4 if request.images and request.text else alone if request.text else 0.02

    engine.rule = diluted
    verdict = await ask(await make_judge(), "I will kill you", make_image())
    violence = part(verdict, "violence")
    assert (verdict.decision, violence.outcome, violence.violated) == (decision, decision, False)
    assert violence.attribution is not None
    assert violence.attribution.class_ == "context_mitigated"
    assert bool(verdict.explanation) == (decision == "review")


async def test_a_cut_text_is_an_abstention(make_judge: MakeJudge, ask: Ask) -> None:
    verdict = await ask(await make_judge(), "a" * 1001)
    assert (verdict.decision, verdict.abstain_reason, verdict.flags) == ("abstain", "truncated", ("truncated",))
    assert verdict.content.truncated


async def test_a_shadow_policy_is_listed_apart_in_a_request_of_its_own_and_decides_nothing(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, pack: PolicyPack
) -> None:
    shadowed = PolicyPack(
        tuple(p.model_copy(update={"mode": Mode.SHADOW}) if p.id == "weapon_sale" else p for p in pack.policies)
    )
    verdict = await ask(await make_judge(shadowed, attribution="never"), "I sell this museum piece", make_image())
    assert verdict.decision == "allow"
    assert [(p.policy_id, p.violated) for p in verdict.shadow] == [("weapon_sale", True)]
    assert "weapon_sale" not in {p.policy_id for p in verdict.policies}
    asked = [[q.policy_id for q in request.questionnaire.questions] for request in engine.requests]
    assert ["weapon_sale"] in asked
    assert all(ids == ["weapon_sale"] or "weapon_sale" not in ids for ids in asked)


async def test_calibration_moves_scores_and_thresholds_and_is_named(make_judge: MakeJudge, ask: Ask) -> None:
    calibration = Calibration(
        "sha256:" + "c" * 64, {"violence": Platt(slope=1, intercept=-3, thresholds=Thresholds(review=0.05, block=0.1))}
    )
    verdict = await ask(await make_judge(calibration=calibration), "I will kill you")
    violence = part(verdict, "violence")
    assert violence.raw_score == 0.7
    assert violence.score == pytest.approx(0.104, abs=1e-3)
    assert (violence.outcome, violence.thresholds.block) == ("block", 0.1)
    assert verdict.model.calibration_id == calibration.calibration_id


async def test_the_language_of_the_questions_follows_the_post(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine
) -> None:
    judge = await make_judge()
    assert (await ask(judge, "卖刀")).content.language == "zh"
    assert (await ask(judge, "卖刀", language="en-GB")).content.language == "en"
    assert (await ask(judge, "hello")).content.language == "en"
    assert [request.questionnaire.language for request in engine.requests] == ["zh", "en", "en"]


async def test_the_explanation_is_in_the_posts_language(make_judge: MakeJudge, ask: Ask) -> None:
    verdict = await ask(await make_judge(), "sell 卖刀给你", make_image())
    assert verdict.explanation is not None
    assert "图片与文字结合才构成违规" in verdict.explanation


async def test_the_same_post_has_the_same_verdict_id_and_another_revision_another(
    make_judge: MakeJudge, ask: Ask
) -> None:
    judge = await make_judge()
    first, again = await ask(judge, "hello", make_image()), await ask(judge, "hello", make_image())
    assert first.verdict_id == again.verdict_id
    assert (await ask(judge, "hello", make_image(), revision=2)).verdict_id != first.verdict_id
    assert (await ask(judge, "hello", make_image("blue"))).verdict_id != first.verdict_id


async def test_what_the_platform_sent_along_is_handed_on(make_judge: MakeJudge) -> None:
    post = Post(post_id="p", text="x", author_id="u", surface="feed", metadata={"a": 1}, revision=7, language="de-AT")
    judged = await (await make_judge()).judge(post, trace_id="b" * 32, queue_ms=12.5)
    verdict = judged.verdict
    assert (verdict.author_id, verdict.surface, verdict.metadata, verdict.post_revision) == ("u", "feed", {"a": 1}, 7)
    assert (verdict.post_language, verdict.content.language) == ("de-AT", "en")
    assert (verdict.trace_id, verdict.timings_ms.queue) == ("b" * 32, 12.5)
    assert verdict.timings_ms.total >= 12.5
    assert judged.tokens == 10


async def test_blank_words_count_as_no_words(make_judge: MakeJudge, ask: Ask, engine: RuleEngine) -> None:
    verdict = await ask(await make_judge(), "  \n", make_image())
    attribution = part(verdict, "weapon_display").attribution
    assert attribution is not None
    assert (attribution.class_, attribution.text_only) == ("image_only", None)
    assert engine.requests[0].text == ""


async def test_a_failure_of_the_shadow_policies_leaves_the_enforced_untouched(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, pack: PolicyPack
) -> None:
    shadowed = PolicyPack(
        tuple(p.model_copy(update={"mode": Mode.SHADOW}) if p.id == "doxxing" else p for p in pack.policies)
    )

    def rule(policy_id: str, request: object) -> float:
        if policy_id == "doxxing":
            raise RuntimeError("only the shadow policy's")
        return 0.7 if policy_id == "violence" else 0.01

    engine.rule = rule
    verdict = await ask(await make_judge(shadowed), "I will kill you")
    assert (verdict.decision, verdict.shadow) == ("review", ())


async def test_an_image_that_the_engine_had_no_room_for_is_skipped_and_no_allow(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine
) -> None:
    engine.room = 1
    verdict = await ask(await make_judge(), "hello museum", make_image(), make_image("blue"))
    assert [(image.status, image.frames) for image in verdict.content.images] == [("judged", 1), ("skipped", 0)]
    assert (verdict.decision, verdict.abstain_reason) == ("abstain", "image_skipped")


@pytest.mark.parametrize(
    ("size", "read", "flags"),
    [
        ((600, 400), 240_000, ()),
        ((600, 400), 8000, ()),  # 0.18 of its width and height
        ((600, 400), 6000, ("downscaled",)),  # 0.16
        ((2048, 1024), 70_000, ()),  # 0.37 of 1024 x 512, which is half of it
        ((2048, 1024), 50_000, ("downscaled",)),  # 0.31 of half of it
        ((8192, 2730), 300_000, ("downscaled",)),  # an eighth, before the model reads it
    ],
)
async def test_the_pixels_read_of_an_image_are_recorded_and_less_than_a_sixth_of_its_sides_is_flagged(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, size: tuple[int, int], read: int, flags: tuple[str, ...]
) -> None:
    engine.most_pixels = read
    shown = BytesIO()
    Image.new("L", size).save(shown, "PNG")
    verdict = await ask(await make_judge(), "hello", ImageRef(data=b64encode(shown.getvalue()).decode()))
    (image,) = verdict.content.images
    assert (image.pixels_read, image.flags) == (read, flags)
    assert verdict.flags == (("image_downscaled",) if flags else ())


async def test_evidence_is_loaded_once_for_several_tries(make_judge: MakeJudge, engine: RuleEngine) -> None:
    judge = await make_judge(result_cache_size=0)
    post = Post(post_id="p", text="hello museum", images=(make_image(),))
    async with judge.load_evidence(post) as evidence:
        first = await judge.judge(post, trace_id="a" * 32, evidence=evidence)
        again = await judge.judge(post, trace_id="a" * 32, evidence=evidence)
    assert first.verdict.verdict_id == again.verdict.verdict_id
    assert len(engine.requests) == 2


async def test_the_language_asked_in_is_part_of_the_verdicts_name(make_judge: MakeJudge, ask: Ask) -> None:
    judge = await make_judge()
    english, chinese = await ask(judge, "hello", language="en"), await ask(judge, "hello", language="zh")
    assert english.model == chinese.model
    assert english.verdict_id != chinese.verdict_id


async def test_what_bounds_the_input_is_part_of_the_verdicts_name(make_judge: MakeJudge, ask: Ask) -> None:
    one, other = await make_judge(), await make_judge(media=MediaSettings(max_side=512))
    assert (await ask(one, "hello")).verdict_id != (await ask(other, "hello")).verdict_id
