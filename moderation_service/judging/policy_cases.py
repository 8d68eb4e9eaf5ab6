"""The policies' own test cases: run by a judge, reported as JUnit XML, which every CI reads."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from xml.etree import ElementTree as ET

from moderation_service.contracts.enums import Outcome
from moderation_service.contracts.verdict import PolicyVerdict
from moderation_service.judging.judge import Judge
from moderation_service.policies.model import Case, Policy
from moderation_service.policies.pack import PolicyPack

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case and what its own policy said of it; None where the post was out of the policy's scope."""

    policy_id: str
    case: Case
    found: PolicyVerdict | None

    @property
    def as_expected(self) -> bool:
        """Whether outcome and, where the case names one, attribution are the expected."""
        outcome = self.found.outcome if self.found else Outcome.ALLOW
        return self.case.expect.is_met_by(outcome) and self.case.attribution in {None, self.attribution}

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
    """Judge every case of every policy, in the pack's order; `judge` should run all modality passes."""
    return await asyncio.gather(*(_run(judge, policy, case) for policy in pack.policies for case in policy.cases))


async def _run(judge: Judge, policy: Policy, case: Case) -> CaseResult:
    verdict = (await judge.judge(policy.post(case), trace_id="0" * 32)).verdict
    found = (part for part in (*verdict.policies, *verdict.shadow) if part.policy_id == policy.id)
    return CaseResult(policy.id, case, next(found, None))


def junit(results: Sequence[CaseResult]) -> bytes:
    """A suite a policy, a test a case, a failure where the result is not the expected; results in the pack's order."""
    root = ET.Element("testsuites", {"name": "policies", **_counts(results)})
    for policy_id, group in groupby(results, key=lambda result: result.policy_id):
        own = list(group)
        suite = ET.SubElement(root, "testsuite", {"name": policy_id, **_counts(own)})
        for result in own:
            test = ET.SubElement(suite, "testcase", classname=policy_id, name=_xml(result.case.name))
            if not result.as_expected:
                _, _, expected, *found = result.row()
                ET.SubElement(test, "failure", message=f"expected {expected}, found {' '.join(filter(None, found))}")
    ET.indent(root)
    whole: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return whole + b"\n"


def _counts(results: Sequence[CaseResult]) -> dict[str, str]:
    failures = sum(not result.as_expected for result in results)
    return {"tests": str(len(results)), "failures": str(failures), "errors": "0"}


def _xml(text: str) -> str:
    """The text without what XML can't hold: YAML's escapes may write any character."""
    return _NO_XML.sub("\ufffd", text)
