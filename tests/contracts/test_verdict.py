from typing import Any

import pytest
from pydantic import ValidationError

from moderation_service.contracts.bank import BankMatch
from moderation_service.contracts.enums import ImageStatus
from moderation_service.contracts.verdict import Verdict, verdict_id
from tests.contracts.examples import CONTENT, DIGEST, MODEL, verdict


def test_a_verdict_reads_back_as_it_was_written() -> None:
    written = verdict()
    assert Verdict.model_validate_json(written.to_json()) == written


def test_the_attribution_class_is_called_class_on_the_wire() -> None:
    assert b'"attribution":{"class":"combined","joint":' in verdict().to_json()


def test_a_verdict_can_not_be_changed() -> None:
    with pytest.raises(ValidationError):
        verdict().decision = "allow"  # type: ignore[misc]


def name(**changes: Any) -> str:
    arguments: dict[str, Any] = {
        "post_id": "p-17",
        "revision": 2,
        "content": CONTENT,
        "surface": "feed",
        "policy_set_digest": "sha256:" + "0" * 64,
        "model": MODEL,
    }
    return verdict_id(**{**arguments, **changes})


def test_the_same_judgement_has_the_same_name() -> None:
    assert name() == name()
    assert name() == "5b1fa9e9a7710850371a65f47b273223"


@pytest.mark.parametrize(
    "changes",
    [
        {"post_id": "p-18"},
        {"revision": 3},
        {"surface": None},
        {"policy_set_digest": "sha256:" + "1" * 64},
        *(
            {"model": MODEL.model_copy(update={field: "other"})}
            for field in ("name", "revision", "dtype", "quantization")
        ),
        {"model": MODEL.model_copy(update={"prompt_digest": "sha256:" + "2" * 64})},
        {"model": MODEL.model_copy(update={"calibration_id": "sha256:" + "3" * 64})},
        {"content": CONTENT.model_copy(update={"text_sha256": "ff"})},
        {"content": CONTENT.model_copy(update={"language": "zh"})},
        {"content": CONTENT.model_copy(update={"images": ()})},
        {
            "content": CONTENT.model_copy(
                update={"images": (CONTENT.images[0].model_copy(update={"status": ImageStatus.UNAVAILABLE}),)}
            )
        },
        {"content": CONTENT.model_copy(update={"images": (CONTENT.images[0].model_copy(update={"sha256": "ee"}),)})},
    ],
)
def test_whatever_decides_a_verdict_changes_its_name(changes: dict[str, Any]) -> None:
    assert name(**changes) != name()


def test_a_match_with_a_bank_is_part_of_the_name_and_none_leaves_it() -> None:
    match = BankMatch(
        bank="b", kind="terms", entry="e", action="label", policy=None, severity=3, route=None, digest=DIGEST
    )
    other = match.model_copy(update={"entry": "f"})
    assert name(matches=()) == name()
    assert len({name(), name(matches=[match]), name(matches=[other]), name(matches=[match, other])}) == 4
    assert name(matches=[match, other]) == name(matches=[other, match])
    alike = match.model_copy(update={"policy": "scam"}), match.model_copy(update={"policy": None})
    assert name(matches=alike) == name(matches=alike[::-1])
    assert name(matches=[match.model_copy(update={"spans": ((0, 1),)})]) == name(matches=[match])


@pytest.mark.parametrize(
    "changes",
    [
        {"model": MODEL.model_copy(update={"engine": "openai"})},
        {"content": CONTENT.model_copy(update={"truncated": True})},
        {"content": CONTENT.model_copy(update={"images": (CONTENT.images[0].model_copy(update={"width": 1}),)})},
    ],
)
def test_what_does_not_decide_it_leaves_its_name(changes: dict[str, Any]) -> None:
    assert name(**changes) == name()
