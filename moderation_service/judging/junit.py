"""The results of policies' cases as JUnit XML, which every CI reads."""

import re
from collections.abc import Sequence
from itertools import groupby
from xml.etree import ElementTree as ET

from moderation_service.judging.cases import CaseResult

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
