"""A pack without English under the bundled model, and the commands that read one."""

import re
from pathlib import Path

import pytest

from moderation_service import Moderator
from moderation_service.cli.model import check_model
from moderation_service.cli.pack_diff import diff_packs
from moderation_service.cli.policies import check_policies, run_cases, show_policies
from moderation_service.settings import EngineSettings, PolicySettings, Settings, shipped_policies
from tests.policies.german import TEXTS, german_pack


@pytest.fixture
def german(tmp_path: Path) -> Path:
    return german_pack(tmp_path / "pack")


@pytest.fixture
def settings(german: Path) -> Settings:
    return Settings(policies=PolicySettings(path=german), engine=EngineSettings(device="cpu"))


async def test_the_bundled_model_judges_by_it(german: Path) -> None:
    async with Moderator.from_settings(policies={"path": german}, engine={"device": "cpu"}) as moderator:
        verdict = await moderator.judge({"post_id": "p-1", "text": "Verkaufe mein Jagdmesser, Preis per Nachricht"})
    assert [policy.policy_id for policy in verdict.policies] == list(TEXTS)
    assert (verdict.content.language, verdict.detected_language) == ("de", "de")
    assert all(policy.label_mass > 0.5 for policy in verdict.policies)


async def test_its_cases_run(settings: Settings, german: Path) -> None:
    assert len(await run_cases(settings, german)) > len(TEXTS)


async def test_the_model_is_checked_with_it(settings: Settings) -> None:
    report, checked = await check_model(settings)
    assert {post.language for post in report.posts} == {"de"}
    assert checked.questionnaire.language == "de"


async def test_it_is_compared_with_a_pack_in_other_languages(settings: Settings, german: Path, tmp_path: Path) -> None:
    posts = tmp_path / "posts.jsonl"
    posts.write_text('{"post_id": "a", "text": "Wer will mein Fahrrad kaufen?"}\n', encoding="utf-8")
    made, left_out = await diff_packs(settings, shipped_policies(), german, posts)
    assert not left_out
    assert made.as_json()


def test_it_is_checked_and_shown(german: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (check_policies(german), show_policies(german)) == (0, 0)
    printed = capsys.readouterr().out
    assert "\nlanguages: de (default)\n" in printed
    assert "Wird eine Waffe verkauft, z. B. ein Messer?" in printed


def test_a_language_that_not_all_policies_have_is_named(german: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = german / "doxxing.yaml"
    file.write_text(re.sub(r"(\n *)de: (.*)", r"\1de: \2\1fr: \2", file.read_text(encoding="utf-8")), encoding="utf-8")
    assert check_policies(german) == 0
    assert "\nnot judged in fr, which is missing in: weapon_sale\n" in capsys.readouterr().out
