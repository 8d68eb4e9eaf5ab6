"""What may judge: only what has passed the golden sets that are required."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from moderation_service.errors import Misconfigured
from moderation_service.policies.gate import FILE, GatePass, check_gates, record_pass
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.settings import GoldenSettings, PolicySettings, Settings, shipped_policies
from tests.contracts.examples import DIGEST, MODEL


@pytest.fixture(scope="module")
def pack() -> PolicyPack:
    return load_pack(shipped_policies(), images=False)


def requiring(path: Path, *names: str) -> Settings:
    return Settings(policies=PolicySettings(path=path), golden=GoldenSettings(required=frozenset(names), margin=0.02))


def passed(pack: PolicyPack, **changes: object) -> GatePass:
    known = GatePass(
        golden_set="release",
        data=DIGEST,
        margin=0.02,
        policy_set_digest=pack.digest,
        model=MODEL,
        passed_at=datetime.now(UTC),
    )
    return known.model_copy(update=changes)


def test_without_a_required_set_nothing_is_read(tmp_path: Path, pack: PolicyPack) -> None:
    (tmp_path / FILE).write_text("toast")
    check_gates(requiring(tmp_path), pack, MODEL)


def test_a_pass_beside_the_policies_lets_them_judge_whatever_else_stands_there(
    tmp_path: Path, pack: PolicyPack
) -> None:
    for one in (passed(pack, policy_set_digest=DIGEST), passed(pack), passed(pack, golden_set="other")):
        assert record_pass(tmp_path, one) == tmp_path / FILE
    check_gates(requiring(tmp_path, "release", "other"), pack, MODEL)


def test_of_a_policy_that_is_one_file_the_passes_stand_beside_it(tmp_path: Path, pack: PolicyPack) -> None:
    policy = tmp_path / "doxxing.yaml"
    policy.touch()
    record_pass(policy, passed(pack))
    check_gates(requiring(policy, "release"), pack, MODEL)


@pytest.mark.parametrize(
    "changes",
    [
        {"golden_set": "another"},
        {"policy_set_digest": DIGEST},
        {"model": MODEL.model_copy(update={"revision": "r2"})},
        {"model": MODEL.model_copy(update={"prompt_digest": "sha256:" + "b" * 64})},
        {"model": MODEL.model_copy(update={"calibration_id": DIGEST})},
        {"margin": 0.5},
    ],
)
def test_a_pass_of_another_input_is_none(tmp_path: Path, pack: PolicyPack, changes: dict[str, object]) -> None:
    record_pass(tmp_path, passed(pack, **changes))
    with pytest.raises(Misconfigured, match=r"golden\.required: release has no pass in") as refused:
        check_gates(requiring(tmp_path, "release"), pack, MODEL)
    assert f"moderation golden check release --policies {tmp_path} --record" in str(refused.value)


def test_a_wrong_line_is_named(tmp_path: Path, pack: PolicyPack) -> None:
    record_pass(tmp_path, passed(pack))
    with (tmp_path / FILE).open("a") as file:
        file.write('{"golden_set": "release"}\n')
    with pytest.raises(Misconfigured, match=rf"{FILE}:2: data: Field required"):
        check_gates(requiring(tmp_path, "release"), pack, MODEL)
