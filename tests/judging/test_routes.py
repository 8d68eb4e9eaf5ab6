"""A policy with a route: what it flags is routed as known content is."""

from typing import Any

import pytest

from moderation_service.app.child_safety import check_routes, open_hold
from moderation_service.app.compose import UNCALIBRATED, check_packs
from moderation_service.contracts.bank import BankEntry
from moderation_service.contracts.enums import Mode
from moderation_service.errors import Misconfigured
from moderation_service.policies.model import Policy
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import Settings
from tests.judging.conftest import Ask, MakeJudge, make_image
from tests.judging.engines import RuleEngine
from tests.judging.test_known_content import banks


def routed(pack: PolicyPack, policy_id: str = "weapon_sale") -> PolicyPack:
    policies = (
        policy.model_copy(update={"route": "child_safety"}) if policy.id == policy_id else policy
        for policy in pack.policies
    )
    return PolicyPack(tuple(policies))


async def test_what_a_policy_with_a_route_flags_is_routed_and_its_verdict_tells_nothing_of_the_post(
    make_judge: MakeJudge, ask: Ask, pack: PolicyPack, engine: RuleEngine
) -> None:
    judge = await make_judge(routed(pack), explain="generate")
    for _ in range(2):  # the second one is answered from the cache
        verdict = await ask(judge, "I sell this", make_image(), metadata={"free": "I sell this"})
        assert (verdict.decision, verdict.decided_by, verdict.route) == ("block", "model", "child_safety")
        assert (verdict.metadata, verdict.statement_of_reasons, verdict.explanation) == ({}, None, None)
        assert b"I sell" not in verdict.to_json()
    assert engine.explained == []
    other = await ask(judge, "kill", metadata={"free": "form"})
    assert (other.decision, other.route, other.metadata) == ("review", None, {"free": "form"})
    assert other.explanation


def test_a_route_is_judged_content_and_policies_without_one_keep_their_digest(pack: PolicyPack) -> None:
    policy = next(policy for policy in pack.policies if policy.id == "weapon_sale")
    fields = policy.model_dump()
    assert Policy.model_validate({**fields, "route": None}).digest == policy.digest
    assert Policy.model_validate({**fields, "route": "child_safety"}).digest != policy.digest
    assert "route" not in str(policy.model_dump(mode="json", exclude={"route"}))
    with pytest.raises(ValueError, match="child_safety cannot go with mode: shadow"):
        Policy.model_validate({**fields, "route": "child_safety", "mode": Mode.SHADOW})


def remote(*, trusted: bool = False) -> Settings:
    engine: dict[str, Any] = {"kind": "openai", "base_url": "http://here/v1", "model": "m", "trusted": trusted}
    return Settings(engine=engine)  # type: ignore[arg-type]


def test_a_policy_with_a_route_is_not_put_to_a_server_of_somebody_else(pack: PolicyPack) -> None:
    ours = routed(pack)
    with pytest.raises(Misconfigured, match=r"engine.trusted: is false, and weapon_sale has a route"):
        check_packs(remote(), (ours,), None, UNCALIBRATED)
    with pytest.raises(Misconfigured, match=r"engine.trusted"):
        check_packs(remote(), (pack,), ours, UNCALIBRATED)
    check_packs(remote(trusted=True), (ours,), None, UNCALIBRATED)
    check_packs(remote(), (pack,), None, UNCALIBRATED)
    check_packs(Settings(), (ours,), None, UNCALIBRATED)


def test_a_route_needs_a_legal_hold(pack: PolicyPack) -> None:
    assert open_hold(Settings()) is None
    check_routes(Settings(), pack, banks())
    with pytest.raises(Misconfigured, match=r"child_safety.hold_path: is not set, and policy weapon_sale has a route"):
        check_routes(Settings(), routed(pack))
    known = banks(({"action": "block", "route": "child_safety"}, [BankEntry(kind="terms", value="x")]))
    with pytest.raises(Misconfigured, match=r"and bank bank0 has a route"):
        check_routes(Settings(), pack, known)
