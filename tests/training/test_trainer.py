"""Training: the tokens and scores are those that serve, and the adapter learns and is loaded by PEFT."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from benchmarks.forged_documents import posts
from moderation_service.app.compose import open_judge
from moderation_service.engine.base import ScoreRequest
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.engine.local.packed_row import PostRow
from moderation_service.engine.local.scorer import Prefix, Scorer
from moderation_service.evaluation.run import JudgedPost, judge_all, with_all_passes
from moderation_service.judging.evidence import EvidenceLoader
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import load_pack
from moderation_service.settings import EngineSettings, LayoutName, Settings, shipped_policies
from moderation_service.training.examples import Example, examples_of
from moderation_service.training.trainer import Epoch, Trainer, TrainingSettings, class_weights
from tests.engine.local.demo_views import views

LAYOUTS: tuple[LayoutName, ...] = ("post_first", "policies_first")
Asked = set[tuple[tuple[int, ...], tuple[int, ...], tuple[object, ...], tuple[int, ...]]]


def trainable(layout: LayoutName = "post_first") -> Scorer:
    settings = EngineSettings(layout=layout, device="cpu", dtype="float32")
    checkpoint = load_checkpoint(settings, trainable=True)
    return Scorer(checkpoint, layout, "brief", max_context_tokens=4096, max_batch_tokens=4096)


def asked(prefix: Sequence[int], rows: Sequence[PostRow]) -> Asked:
    """Prefix, post, images and suffix of each question: all that the model reads for its answer."""
    return {
        (tuple(prefix), tuple(row.post.ids), tuple(image.key for image in row.post.images), tuple(suffix))
        for row in rows
        for suffix in row.suffixes
    }


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_what_is_trained_is_token_by_token_what_serves(
    layout: LayoutName, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: Asked = set()
    score_rows = Scorer._score_rows

    def spy(scorer: Scorer, prefix: Prefix, rows: Sequence[PostRow]) -> Any:
        served.update(asked(prefix.ids, rows))
        return score_rows(scorer, prefix, rows)

    settings = with_all_passes(Settings(engine=EngineSettings(layout=layout, device="cpu")))
    pack = load_pack(shipped_policies(), images=False)
    made = [one for one in posts(12, 3) if not one.labels["forged_documents"]]
    made = [replace(one, labels={policy.id: one.labels[policy.id] for policy in pack.policies}) for one in made]
    async with open_judge(settings, pack) as judge:
        monkeypatch.setattr(Scorer, "_score_rows", spy)
        run = await judge_all(judge, made, io.BytesIO())
    trainer = Trainer(trainable(layout), TrainingSettings())
    trained: Asked = set()
    for questionnaire, by_post in trainer._rows(await examples(run.judged, settings), {}).items():
        for rows in by_post.values():
            trained |= asked(trainer._prefix(questionnaire).ids, [row.tokens for row in rows])
    assert trained
    assert trained <= served
    suspected = [one for one in run.judged if "injection_suspected" in one.verdict.flags]
    assert suspected or trained == served  # what looks meant for the model is scored once more without it


async def examples(judged: Sequence[JudgedPost], settings: Settings) -> list[Example]:
    pack = load_pack(shipped_policies(), images=False)
    async with ImageLoader(settings.media) as loader:
        return [one async for one in examples_of(judged, pack, settings, EvidenceLoader(settings.media, loader))]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_fresh_adapter_scores_as_the_engine_and_gradients_reach_all_of_it(layout: LayoutName) -> None:
    scorer = trainable(layout)
    requests = views(6)
    wanted = [result.labels for result in scorer.score(requests)]
    trainer = Trainer(scorer, TrainingSettings())
    trainer.model.eval()
    for request, labels in zip(requests, wanted, strict=True):
        prefix = trainer._prefix(request.questionnaire)
        yes, no = trainer.log_probabilities(prefix.ids, [scorer.row(prefix, request)])
        assert torch.sigmoid(yes - no).tolist() == pytest.approx([label.score for label in labels], abs=1e-5)
        assert (yes.exp() + no.exp()).tolist() == pytest.approx([label.mass for label in labels], abs=1e-5)
        (yes - no).sum().backward()
    learning = {name: each for name, each in trainer.model.named_parameters() if each.requires_grad}
    assert all("lora_" in name for name in learning)
    assert {name for name in learning if "lora_B" in name and not learning[name].grad.abs().sum()} == set()


def test_a_fixed_vision_tower_has_no_layer_of_the_adapter() -> None:
    trainer = Trainer(trainable(), TrainingSettings(vision=False))
    assert not any("visual" in name for name, each in trainer.model.named_parameters() if each.requires_grad)


@pytest.fixture(scope="module")
def lessons() -> list[Example]:
    """Half of the posts are to be answered otherwise than the base model does."""
    return [
        Example(
            str(number), "joint", request, tuple(float(number % 2) for _ in request.asked), (True,) * len(request.asked)
        )
        for number, request in enumerate(views(4))
    ]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks for it
def test_an_adapter_learns_and_peft_scores_with_it_as_the_engine_does(lessons: list[Example], tmp_path: Path) -> None:
    scorer = trainable()
    trainer = Trainer(scorer, TrainingSettings(epochs=4, learning_rate=4e-3))
    epochs: list[Epoch] = []
    assert trainer.train(lessons, lessons, epochs.append) == epochs
    assert min(each.validation_loss for each in epochs) < 0.8 * epochs[0].train_loss
    trainer.save(tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
    }

    requests = [one.request for one in lessons]
    merged = load_checkpoint(EngineSettings(device="cpu", dtype="float32", adapter=tmp_path / "adapter"))
    served = Scorer(merged, "post_first", "brief", max_context_tokens=4096, max_batch_tokens=4096).score(requests)
    by_peft = trainable()
    PeftModel.from_pretrained(by_peft.checkpoint.model, tmp_path / "adapter")
    found = by_peft.score(requests)
    for one, other in zip(served, found, strict=True):
        assert [each.score for each in one.labels] == pytest.approx([each.score for each in other.labels], abs=1e-5)


def test_training_stops_where_the_validation_loss_falls_no_more_and_keeps_the_best(lessons: list[Example]) -> None:
    contrary = [replace(one, targets=tuple(1 - each for each in one.targets)) for one in lessons]
    trainer = Trainer(trainable(), TrainingSettings(epochs=20, patience=1, learning_rate=4e-3))
    epochs = trainer.train(lessons[:2], contrary[:2], lambda _: None)
    best = min(epochs, key=lambda each: each.validation_loss)
    assert len(epochs) == best.number + 1
    assert trainer._validate(trainer._rows(contrary[:2], class_weights(lessons[:2]))) == pytest.approx(
        best.validation_loss, abs=1e-5
    )


def test_a_rare_answer_weighs_more_up_to_a_bound() -> None:
    request, *_ = views(1)
    request = ScoreRequest(request.text, request.images, request.questionnaire, (0,))
    made = [Example(str(number), "joint", request, (float(number == 0),), (True,)) for number in range(50)]
    policy = request.questionnaire.questions[0].policy_id
    assert class_weights(made) == {
        ("joint", policy, True): 4.0,
        ("joint", policy, False): pytest.approx((50 / 98) ** 0.5),
    }
