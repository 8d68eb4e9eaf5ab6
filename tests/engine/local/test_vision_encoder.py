"""The vision tower runs once an image, and what it saw is kept within a bound."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from moderation_service.contracts.engine_input import Language, Questionnaire
from moderation_service.engine.base import Pixels, ScoreRequest
from moderation_service.engine.local.checkpoint import Checkpoint
from moderation_service.engine.local.image_encoder import ImagePreprocessor, StagedImage, VisionEncoder
from moderation_service.engine.local.packed_row import PostRow
from moderation_service.engine.local.scorer import Scorer
from tests.engine.local.conftest import MakeScorer

Draw = Callable[[int, int], Pixels]


class Watched(VisionEncoder):
    """Counts what reaches the tower."""

    def __init__(self, checkpoint: Checkpoint, kept_bytes: int = 10**6) -> None:
        self.preprocessor = ImagePreprocessor(checkpoint.image_processor, checkpoint.device)
        super().__init__(checkpoint.model, self.preprocessor, kept_bytes)
        self.looked = 0

    def of(self, *pixels: Pixels) -> torch.Tensor:
        return self.features([self.preprocessor.stage(one) for one in pixels])

    def _encode(self, images: Sequence[StagedImage]) -> Sequence[torch.Tensor]:
        self.looked += len(images)
        return super()._encode(images)


@pytest.fixture
def vision(checkpoint: Checkpoint) -> Watched:
    return Watched(checkpoint)


@torch.inference_mode()
def test_features_are_the_model_s_own_in_the_order_asked(
    vision: Watched, checkpoint: Checkpoint, make_image: Draw
) -> None:
    pixels = [make_image(60, 90), make_image(56, 56), make_image(90, 40)]
    staged = [vision.preprocessor.stage(one) for one in pixels]
    wanted = torch.cat(checkpoint.model.model.get_image_features(**vision.preprocessor.inputs(staged)).pooler_output)
    assert torch.equal(vision.of(*pixels), wanted)
    mixed = vision.of(make_image(70, 70), *pixels[::-1])  # one of them new
    assert torch.equal(mixed[-len(wanted) :], torch.cat([vision.of(one) for one in pixels[::-1]]))


class Numbers(TorchDispatchMode):
    """Counts what is read off tensors, or made to be: each time a GPU would finish its work first."""

    read = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        self.read += func in {torch.ops.aten.item.default, torch.ops.aten.diff.default}
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def test_no_layer_asks_for_the_lengths_of_images_when_the_model_looks_by_itself(
    vision: Watched, checkpoint: Checkpoint, make_image: Draw
) -> None:
    """As for explanations, and for the other ways that the bench asks."""
    inputs = vision.preprocessor.inputs(
        [vision.preprocessor.stage(make_image(60, 90)), vision.preprocessor.stage(make_image(56, 56))]
    )
    with Numbers() as numbers:
        checkpoint.model.model.get_image_features(**inputs)
    assert numbers.read == 0


@torch.inference_mode()
def test_an_image_is_looked_at_once_however_often_it_is_asked_for(vision: Watched, make_image: Draw) -> None:
    one, other = make_image(60, 90), make_image(56, 56)
    first = vision.of(one, other, one)
    assert vision.looked == 2
    again = vision.of(one.copy())  # by content, not by object
    assert vision.looked == 2
    assert torch.equal(again, first[: len(again)])


@torch.inference_mode()
def test_images_alike_but_for_a_pixel_or_their_shape_are_not_taken_for_each_other(
    vision: Watched, make_image: Draw
) -> None:
    one = make_image(56, 84)
    near = one.copy()
    near[55, 83, 2] ^= 1
    turned = np.ascontiguousarray(one.reshape(84, 56, 3))
    seen = [vision.of(pixels) for pixels in (one, near, turned)]
    assert vision.looked == 3
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


@torch.inference_mode()
def test_what_is_kept_stays_within_its_bytes_and_the_one_not_used_for_longest_goes(
    checkpoint: Checkpoint, make_image: Draw
) -> None:
    first, second, third = (make_image(56, 56) for _ in range(3))
    size = Watched(checkpoint).of(first).nbytes
    vision = Watched(checkpoint, kept_bytes=2 * size)
    vision.of(first)
    vision.of(second)
    vision.of(first)
    vision.of(third)  # the second goes
    assert (vision.looked, vision._features.currsize) == (3, 2 * size)
    vision.of(first, third)
    assert vision.looked == 3
    vision.of(second)
    assert vision.looked == 4
    assert vision._features.currsize == sum(tokens.nbytes for tokens in vision._features.values()) == 2 * size


@torch.inference_mode()
def test_more_than_may_be_kept_is_answered_all_the_same(checkpoint: Checkpoint, make_image: Draw) -> None:
    pixels = [make_image(56, 56) for _ in range(3)]
    wanted = Watched(checkpoint).of(*pixels)
    vision = Watched(checkpoint, kept_bytes=0)
    assert torch.equal(vision.of(*pixels), wanted)
    assert (vision._features.currsize, len(vision._features)) == (0, 0)


@torch.inference_mode()
def test_each_kept_image_has_memory_of_its_own(vision: Watched, make_image: Draw) -> None:
    vision.of(make_image(56, 56), make_image(60, 90))
    assert all(tokens.untyped_storage().nbytes() == tokens.nbytes for tokens in vision._features.values())


def test_the_image_alone_and_the_post_again_do_not_run_the_tower(
    make_scorer: MakeScorer,
    questionnaires: dict[Language, Questionnaire],
    make_image: Draw,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scorer = make_scorer()
    images, en = (make_image(60, 90), make_image(56, 56)), questionnaires["en"]
    joint, alone = ScoreRequest("Lightly used", images, en, (0, 1)), ScoreRequest("", images, en, (0, 1))
    unshared = [make_scorer().score([request])[0] for request in (joint, alone)]
    looked = []
    tower = scorer.checkpoint.model.model.visual
    forward = tower.forward
    monkeypatch.setattr(tower, "forward", lambda *args, **kw: looked.append(1) or forward(*args, **kw))
    shared = [scorer.score([request])[0] for request in (joint, alone, joint)]
    assert len(looked) == 1
    for one, other in zip(shared, [*unshared, unshared[0]], strict=True):
        for got, wanted in zip(one.labels, other.labels, strict=True):
            assert got.score == pytest.approx(wanted.score, abs=1e-6)
            assert got.mass == pytest.approx(wanted.mass, abs=1e-6)
    scorer.clear_caches()
    scorer.score([alone])
    assert len(looked) == 2


@torch.inference_mode()
def test_a_forward_asks_the_device_for_nothing_until_its_answers_are_read(
    scorer: Scorer, questionnaires: dict[Language, Questionnaire], make_image: Draw
) -> None:
    """On the meta device, where reading a number off a tensor is an error; a GPU would finish all its work first."""
    meta, en = torch.device("meta"), questionnaires["en"]
    posts = [
        ScoreRequest("Lightly used", (make_image(60, 90), make_image(56, 56)), en, (0, 1)),
        ScoreRequest("", (), en, (1,)),
    ]
    kept = scorer.prefix(en)
    rows = [PostRow(scorer.post_tokenizer.tokenize(post.text, post.images, kept.room), kept.suffixes) for post in posts]
    scorer.checkpoint = replace(scorer.checkpoint, model=deepcopy(scorer.checkpoint.model).to(meta), device=meta)
    preprocessor = scorer.preprocessor
    preprocessor._device, preprocessor._mean, preprocessor._deviation = (
        meta,
        preprocessor._mean.to(meta),
        preprocessor._deviation.to(meta),
    )
    scorer._vision = VisionEncoder(scorer.checkpoint.model, preprocessor)
    hidden = scorer._hidden(
        replace(kept, key_values=[(keys.to(meta), values.to(meta)) for keys, values in kept.key_values]), rows
    )
    assert (hidden.shape, hidden.device) == ((2 * len(kept.suffixes), 64), meta)
