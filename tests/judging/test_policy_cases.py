from xml.etree import ElementTree as ET

from moderation_service.contracts.verdict import PolicyVerdict
from moderation_service.judging.policy_cases import CaseResult, junit
from moderation_service.policies.model import Case
from tests.contracts.examples import POLICY


def result(policy_id: str, name: str, expect: str, found: PolicyVerdict | None = POLICY) -> CaseResult:
    return CaseResult(policy_id, Case.model_validate({"name": name, "text": "x", "expect": expect}), found)


def parsed(results: list[CaseResult]) -> ET.Element:
    return ET.fromstring(junit(results))  # noqa: S314 - written just now


def test_each_policy_is_a_suite_each_case_a_test_and_each_difference_a_failure() -> None:
    results = [
        result("doxxing", "a sale", "block"),
        result("weapon_sale", "an offer", "violation"),
        result("weapon_sale", "a walk", "allow"),
        result("weapon_sale", "elsewhere", "block", None),
    ]
    root = parsed(results)
    assert root.attrib == {"name": "policies", "tests": "4", "failures": "2", "errors": "0"}
    suites = {suite.attrib["name"]: suite for suite in root}
    assert {name: (suite.attrib["tests"], suite.attrib["failures"]) for name, suite in suites.items()} == {
        "doxxing": ("1", "0"),
        "weapon_sale": ("3", "2"),
    }
    failures = {case.attrib["name"]: case.find("failure") for case in suites["weapon_sale"]}
    assert failures["an offer"] is None
    said = {name: failure.attrib["message"] for name, failure in failures.items() if failure is not None}
    assert said == {
        "a walk": "expected allow, found block 0.970 combined",
        "elsewhere": "expected block, found out of scope",
    }


def test_whatever_a_name_holds_the_file_is_xml() -> None:
    name = '<"it\'s" & ]]> \x01 \x0b 😀 买卖\n2'
    case = parsed([result("doxxing", name, "block")]).find("testsuite/testcase")
    assert case is not None
    assert case.attrib["name"] == '<"it\'s" & ]]> � � 😀 买卖\n2'
