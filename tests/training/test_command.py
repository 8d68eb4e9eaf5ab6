"""`moderation train` from labels to a folder that the engine loads, on the bundled model and one new policy."""

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import forged_documents
from moderation_service.cli.training import train
from moderation_service.demo.post_factory import PostFactory
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.errors import Misconfigured
from moderation_service.settings import EngineSettings

COUNT = 48


def texts() -> list[dict[str, object]]:
    """Posts of words alone, every other one an offer to forge, a minute apart."""
    found = []
    for number, one in enumerate(forged_documents.posts(COUNT, 5)):
        desk = PostFactory(6, number, 1, "text")
        is_offer = number % 2 == 0
        text = forged_documents.offer(desk.language, desk.rng) if is_offer else desk.sentence("sale", desk.language)
        post = one.post.model_copy(update={"text": text, "images": (), "language": None})
        found.append({**post.model_dump(mode="json", exclude_none=True), "labels": {forged_documents.POLICY: is_offer}})
    return found


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    policies = tmp_path / "policies"
    policies.mkdir()
    shutil.copy(forged_documents.FOLDER / "forged_documents.yaml", policies)
    monkeypatch.setenv("MODERATION_POLICIES__PATH", str(policies))
    monkeypatch.setenv("MODERATION_ENGINE__DEVICE", "cpu")
    return write(tmp_path / "labelled.jsonl", texts())


def write(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_labels_of_a_policy_become_an_adapter_with_its_card(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "adapter"
    assert train(str(labelled), out=out, epochs=8) == 0
    printed, told = capsys.readouterr()
    card = json.loads(printed)
    assert json.loads((out / "card.json").read_text()) == card
    assert card["data"]["split_by"] == "time"
    assert [card["data"][part] for part in ("train", "validation", "held_out")] == [31, 5, 12]
    assert card["comparison"]["changes"]["ranking"]["interval"][0] > 0
    assert "significantly worse: nothing" in told
    assert f"| ranking | {card['comparison']['changes']['ranking']['before']:.3f} |" in (out / "README.md").read_text()

    loaded = load_checkpoint(EngineSettings(device="cpu", adapter=out))
    assert loaded.revision == f"{card['base']['revision']}+{card['digest']}"


def test_shuffled_labels_teach_nothing_and_no_adapter_is_written(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = texts()
    others = random.Random(3).sample(rows, COUNT)
    mixed = [{**row, "labels": other["labels"]} for row, other in zip(rows, others, strict=True)]
    out = tmp_path / "adapter"
    assert train(str(write(labelled, mixed)), out=out, epochs=2) == 1
    assert "learnt nothing" in capsys.readouterr().err
    assert not out.exists()


def test_what_is_wrong_is_said_before_anything_is_trained(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Misconfigured, match="is there already"):
        train(str(labelled), out=tmp_path)
    with pytest.raises(Misconfigured, match="should be a folder that may be written to"):
        train(str(labelled), out=tmp_path / "no" / "adapter")
    few = write(labelled, texts()[:39])
    with pytest.raises(Misconfigured, match="39 posts to learn from; should be 40 at least"):
        train(str(few), out=tmp_path / "adapter")
    monkeypatch.setenv("MODERATION_ENGINE__ADAPTER", str(tmp_path))
    with pytest.raises(Misconfigured, match="an adapter is trained on the base model; leave it unset"):
        train(str(labelled), out=tmp_path / "adapter")
