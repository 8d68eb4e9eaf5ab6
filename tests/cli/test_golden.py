"""`moderation golden`, with the bundled model on demo posts."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moderation_service.cli import cli
from moderation_service.demo.benchmark import calibration_posts
from moderation_service.errors import Misconfigured
from moderation_service.evaluation.golden_set import GoldenSet
from moderation_service.settings import GoldenSettings, shipped_policies
from tests.engine.local.random_adapter import random_adapter
from tests.line.test_reviews_commands import review

Run = Callable[..., str]
POSTS = 60


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the set `release` and its baseline by the shipped policies, made by the commands."""
    folder = tmp_path_factory.mktemp("judged")
    with (folder / "posts.jsonl").open("w", encoding="utf-8") as file:
        for one in calibration_posts(POSTS, seed=7100):
            row = {**one.post.model_dump(mode="json", exclude_none=True), "labels": dict(one.labels)}
            file.write(json.dumps(row) + "\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MODERATION_GOLDEN__PATH", str(folder / "golden"))
        assert called("add", "release", folder / "posts.jsonl") == 0
        assert called("baseline", "release") == 0
    return folder / "golden"


@pytest.fixture
def run(tmp_path: Path, judged: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `moderation golden` on a copy of that folder; standard output."""
    shutil.copytree(judged, tmp_path / "golden")
    monkeypatch.setenv("MODERATION_GOLDEN__PATH", str(tmp_path / "golden"))

    def call(*arguments: object, code: int = 0) -> str:
        assert called(*arguments) == code
        return capsys.readouterr().out

    return call


def called(*arguments: object) -> Any:
    return cli(["golden", *map(str, arguments)], exit_on_error=False, print_error=False)


def flagging_less(folder: Path, judged: Path, points: float) -> tuple[Path, list[str]]:
    """The shipped policies but for a threshold that lowers the recall of `violence` so far; the posts that it loses."""
    known = GoldenSet.named(GoldenSettings(path=judged), "release")
    outcomes = known.baseline().posts
    hits = sorted(
        (outcomes[one.post.post_id].scores["violence"], one.post.post_id)
        for one in known.load()
        if one.labels["violence"] and "violence" in outcomes[one.post.post_id].violated
    )
    violations = sum(one.labels["violence"] for one in known.load())
    lost = round(points * violations)
    proposed = folder / "proposed"
    shutil.copytree(shipped_policies(), proposed)
    file = proposed / "violence.yaml"
    limit = repr((hits[lost - 1][0] + hits[lost][0]) / 2)
    text, count = re.subn(
        r"review: [\d.]+\n  block: [\d.]+", f"review: {limit}\n  block: {limit}", file.read_text("utf-8")
    )
    assert count == 1
    file.write_text(text, encoding="utf-8")
    return proposed, [post for _, post in hits[:lost]]


def test_a_policy_edit_that_lowers_recall_by_10_points_is_refused_with_the_posts_that_flipped(
    tmp_path: Path, judged: Path, run: Run
) -> None:
    proposed, lost = flagging_less(tmp_path, judged, 0.1)
    report = json.loads(run("check", "release", "--policies", proposed, "--record", "--json", code=1))
    assert not report["passed"]
    assert report["changes"] == ["policy violence: changed"]
    (found,) = (one for one in report["policies"] if one["policy_id"] == "violence")
    assert found["old"]["recall"] - found["new"]["recall"] == pytest.approx(0.1, abs=0.03)
    assert found["fallen"] == ["recall", "f1"]
    assert sorted(flip["post_id"] for flip in report["flips"]) == sorted(lost)
    assert all(flip["violates"] and not flip["is_right"] for flip in report["flips"])
    assert not (proposed / "golden-passes.jsonl").exists()

    shown = run("check", "release", "--policies", proposed, "--margin", "0.2", "--record")
    assert "passed: nothing fell by more than 0.2" in shown
    assert all(post in shown for post in lost)
    recorded = json.loads((proposed / "golden-passes.jsonl").read_text("utf-8"))
    assert (recorded["golden_set"], recorded["margin"]) == ("release", 0.2)


def test_a_change_of_calibration_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_JUDGING__CALIBRATION", "none")
    report = json.loads(run("check", "release", "--json", "--margin", "0.5"))
    (change,) = report["changes"]
    assert re.fullmatch(r"model.calibration_id: sha256:\w+ → None", change)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks for it
def test_an_adapter_that_makes_the_model_worse_is_named_and_refused(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_ENGINE__ADAPTER", str(random_adapter(tmp_path / "adapter", alpha=400)))
    report = json.loads(run("check", "release", "--json", code=1))
    assert report["policies"][0]["fallen"]
    assert [change.partition(":")[0] for change in report["changes"]] == ["model.revision", "model.calibration_id"]


def test_labels_are_added_and_replaced_and_posts_removed_from_the_baseline_too(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "more.jsonl"
    rows = [
        {"post_id": "calibration-0000a", "text": "anew", "labels": {"violence": False}},
        {"post_id": "new", "text": "hello", "labels": {"violence": False}},
        {"post_id": "wrong", "text": "hello", "labels": {"toast": False}},
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    assert f"1 posts added, 1 replaced; {tmp_path}/golden/release.jsonl holds {POSTS + 1}" in run(
        "add", "release", file, code=1
    ).replace("\n", "")
    assert ", of other posts or labels" in run("list")
    with pytest.raises(Misconfigured, match="moderation golden baseline release"):
        called("check", "release")


def test_only_labels_of_blind_audits_are_added_where_that_is_asked(tmp_path: Path, run: Run) -> None:
    posts, reviews = tmp_path / "posts.jsonl", tmp_path / "reviews.jsonl"
    posts.write_text('{"post_id": "a", "text": "x"}\n{"post_id": "b", "text": "y"}\n', encoding="utf-8")
    audit = {"round": "first", "stratum": "allow", "probability": 0.01}
    rows = [review("a", violated=True) | {"audit": audit}, review("b", violated=True)]
    reviews.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    run("add", "audited", reviews, "--posts", posts, "--audits")
    run("add", "reviewed", reviews, "--posts", posts)
    sets = {one.name: one.load() for one in GoldenSet.every(GoldenSettings(path=tmp_path / "golden"))}
    assert [one.post.post_id for one in sets["audited"]] == ["a"]
    assert [one.post.post_id for one in sets["reviewed"]] == ["a", "b"]


def test_a_post_that_has_a_route_now_leaves_the_set(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (shipped_policies() / "minor_contact.yaml").read_text("utf-8").partition("\ncases:")[0]
    (tmp_path / "routing").mkdir()
    (tmp_path / "routing" / "minor_contact.yaml").write_text(f"{text}\nroute: child_safety\n", "utf-8")
    monkeypatch.setenv("MODERATION_POLICIES__PATH", str(tmp_path / "routing"))
    file = tmp_path / "found.jsonl"
    file.write_text('{"post_id": "calibration-0000a", "text": "x", "labels": {"minor_contact": true}}\n', "utf-8")
    assert f"holds {POSTS - 1}" in run("add", "release", file, code=1).replace("\n", " ")
    kept = GoldenSet.named(GoldenSettings(path=tmp_path / "golden"), "release").load()
    assert "calibration-0000a" not in {one.post.post_id for one in kept}


def test_removed_posts_leave_the_baseline_as_good_as_it_was(tmp_path: Path, run: Run) -> None:
    run("remove", "release", "calibration-0000a", "toast", code=1)
    release = GoldenSet.named(GoldenSettings(path=tmp_path / "golden"), "release")
    assert "calibration-0000a" not in release.baseline().posts
    assert len(release.load()) == len(release.baseline().posts) == POSTS - 1
    assert ", of other posts" not in run("list")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("add", "release", "bundled"), "bundled: name a file"),
        (("add", "release", "no.jsonl", "--audits"), "--audits: is of reviews"),
        (("check", "release", "--margin", "1.5"), "--margin 1.5: should be a share"),
        (("check", "other"), "no such golden set"),
        (("baseline", "other"), "no such golden set"),
        (("remove", "Other", "p"), "no name of a golden set"),
    ],
)
def test_wrong_usage_says_what_would_be_right(run: Run, arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(Misconfigured, match=re.escape(says)):
        run(*arguments)
