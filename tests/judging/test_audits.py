"""Every verdict says whether it is audited, and nothing else of it changes by that."""

import base64

from moderation_service.contracts.audit import AuditDraw
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.evaluation.replay import APART
from moderation_service.judging.judge import Judge
from moderation_service.settings import AuditSettings
from tests.judging.conftest import Ask, MakeJudge, make_image
from tests.judging.engines import RuleEngine

RATES = {"allow_low": 0.1, "allow_middle": 0.2, "allow_near": 0.3, "abstain": 0.4, "review": 0.5, "block": 1.0}
ON = AuditSettings.model_validate({"rates": RATES, "second_share": 1.0})


async def test_a_verdict_has_its_draw_and_else_is_as_without_audits(make_judge: MakeJudge, ask: Ask) -> None:
    with_audits, without = [
        await ask(judge, "I sell this", make_image()) for judge in (await make_judge(audit=ON), await make_judge())
    ]
    assert with_audits.audit == AuditDraw(stratum="block", probability=1.0, is_sampled=True, second=True)
    assert without.audit is None
    names = Verdict.model_fields.keys() - APART
    assert "audit" not in names, "a replay does not compare it"
    assert with_audits.model_dump(include=names) == without.model_dump(include=names)


async def test_a_copy_has_the_draw_of_the_first_whether_its_result_is_reused_or_not(
    make_judge: MakeJudge, engine: RuleEngine
) -> None:
    judge, other = await make_judge(audit=ON), await make_judge(audit=ON)

    async def draw(by: Judge, post_id: str) -> AuditDraw | None:
        post = Post(post_id=post_id, text="a museum visit", images=(make_image(),))
        return (await by.judge(post, trace_id="a" * 32)).verdict.audit

    first = await draw(judge, "first")
    judged = len(engine.requests)
    assert first is not None
    assert first == await draw(judge, "second")
    assert len(engine.requests) == judged, "it was reused"
    assert first == await draw(other, "third")


async def test_an_abstention_is_drawn_by_its_stratum(make_judge: MakeJudge, ask: Ask) -> None:
    broken = make_image().model_copy(update={"data": base64.b64encode(b"hello").decode()})
    verdict = await ask(await make_judge(audit=ON), "a museum visit", broken)
    assert verdict.audit is not None
    assert (verdict.audit.stratum, verdict.audit.probability) == ("abstain", 0.4)
