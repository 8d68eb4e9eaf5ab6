"""The policies' own cases, judged like any post."""

import asyncio
from dataclasses import dataclass

from moderation_service.contracts.verdict import PolicyVerdict
from moderation_service.judging.judge import Judge
from moderation_service.policies.model import Case, Policy
from moderation_service.policies.pack import PolicyPack


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case and what its own policy said of it; None where the post was out of the policy's scope."""

    policy_id: str
    case: Case
    found: PolicyVerdict | None

    @property
    def as_expected(self) -> bool:
        """Whether outcome and, where the case names one, attribution are the expected."""
        outcome = self.found.outcome if self.found else "allow"
        wanted = self.case.expect
        right = outcome in {"review", "block"} if wanted == "violation" else outcome == wanted
        return right and self.case.attribution in {None, self.attribution}

    @property
    def attribution(self) -> str | None:
        """The attribution class found."""
        return self.found.attribution.class_ if self.found and self.found.attribution else None

    def row(self) -> tuple[str, ...]:
        """Cells for a table: policy, case, expected, decided, score, attribution."""
        expected = " ".join(filter(None, (self.case.expect, self.case.attribution)))
        if self.found is None:
            return self.policy_id, self.case.name, expected, "out of scope", "", ""
        decided = (self.found.outcome, f"{self.found.score:.3f}", self.attribution or "")
        return self.policy_id, self.case.name, expected, *decided


async def run_cases(judge: Judge, pack: PolicyPack) -> list[CaseResult]:
    """Judge every case of every policy, in the pack's order; `judge` should run all views."""
    return await asyncio.gather(*(_run(judge, policy, case) for policy in pack.policies for case in policy.cases))


async def _run(judge: Judge, policy: Policy, case: Case) -> CaseResult:
    verdict = (await judge.judge(policy.post(case), trace_id="0" * 32)).verdict
    found = (part for part in (*verdict.policies, *verdict.shadow) if part.policy_id == policy.id)
    return CaseResult(policy.id, case, next(found, None))
