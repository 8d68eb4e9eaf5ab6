from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Glm4vForConditionalGeneration
from transformers.models.glm46v.image_processing_glm46v import Glm46VImageProcessor

from demo_model import checkpoint, language_stage, recipe
from demo_model.batched_vision import patches, see
from demo_model.image_bank import LEAST_PIXELS, MOST_PIXELS, SIZES, Shelf, resized, shoot
from demo_model.lessons import Lesson, SeenRow
from demo_model.model import new_model
from demo_model.tokenizer import answers, plain_spelling
from moderation_service.demo.disguise import SPELLINGS
from moderation_service.demo.glyphs import CLASSES
from moderation_service.demo.images import USUAL
from moderation_service.engine.base import ScoreRequest
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.engine.local.image_encoder import StagedImage
from moderation_service.engine.local.packed_row import PostRow
from moderation_service.engine.local.post_tokenizer import TokenizedPost
from moderation_service.engine.local.scorer import Scorer
from moderation_service.settings import EngineSettings, LayoutName
from moderation_service.training.masked_batch import pack

PROCESSOR = Glm46VImageProcessor(size={"shortest_edge": LEAST_PIXELS, "longest_edge": MOST_PIXELS})


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untrained")
    checkpoint.save(new_model(1), recipe.make_tokenizer(), folder)
    return folder


@pytest.fixture(scope="module")
def shots() -> list[Shelf]:
    made = [shoot(np.random.default_rng([8, number]), USUAL) for number in range(12)]
    return [Shelf(shot.pixels[None], np.array([shot.cls]), shot.cells[None]) for shot in made]


def test_images_get_the_shape_that_the_processor_gives_them() -> None:
    for size, _ in SIZES:
        pixels = np.zeros((*size, 3), np.uint8)
        grid = PROCESSOR(images=[pixels], return_tensors="pt")["image_grid_thw"][0].tolist()
        assert [1, *(side // 14 for side in resized(size))] == grid
        assert grid[1] * grid[2] // 4 <= 20


def test_many_images_in_one_attention_look_as_they_do_one_by_one(shots: list[Shelf]) -> None:
    visual = new_model(0).model.visual.eval()
    longest = max(down * across for down, across in (shelf.grid for shelf in shots))
    seen = [patches(shelf.pixels)[0] for shelf in shots]
    padded = torch.stack([torch.nn.functional.pad(part, (0, 0, 0, longest - len(part))) for part in seen])
    with torch.no_grad():
        ours = see(visual, padded, [shelf.grid for shelf in shots])
        for shelf, tokens in zip(shots, ours, strict=True):
            done = PROCESSOR(images=[shelf.pixels[0]], do_resize=False, return_tensors="pt")
            stock = visual(done["pixel_values"], grid_thw=done["image_grid_thw"]).pooler_output
            assert (stock - tokens[: len(stock)]).abs().max() < 1e-4


@pytest.mark.parametrize("layout", ["post_first", "policies_first"])
def test_training_asks_what_the_engine_asks(untrained: Path, layout: LayoutName) -> None:
    settings = EngineSettings(model=str(untrained), layout=layout)
    scorer = Scorer(load_checkpoint(settings), layout, "brief", max_context_tokens=1024, max_batch_tokens=4096)
    words, pixels = "Selling this, 80 or best offer", np.asarray(_square(3))
    asked = recipe.packs()["en"]
    engine = scorer.score([ScoreRequest(words, (pixels,), asked, (0, 5))])[0]

    model = Glm4vForConditionalGeneration.from_pretrained(untrained, dtype=torch.float32).eval()
    tokenizer, prompts = scorer.tokenizer, scorer.prompts
    post = TokenizedPost(
        [*tokenizer.image_tokens(16), *tokenizer.encode_untrusted(prompts.words(words))],
        (StagedImage(torch.empty(0, 1), torch.tensor([[1, 8, 8]])),),
        truncated=False,
    )
    suffixes = prompts.suffixes(asked)
    row = PostRow(post, (tokenizer.encode_trusted(suffixes[0]), tokenizer.encode_trusted(suffixes[5])))
    prefix = tokenizer.encode_trusted(prompts.prefix(asked))
    rows = pack([row], len(prefix), model.config.image_token_id, tokenizer.pad, merge=2)
    lesson = Lesson(prefix, rows, SeenRow(patches(pixels[None]), [(8, 8)]), torch.zeros(2, dtype=torch.long))
    with torch.no_grad():
        shares = language_stage.answer_logits(model, lesson).softmax(-1)
    yes, no = shares[:, list(tokenizer.yes)].sum(-1), shares[:, list(tokenizer.no)].sum(-1)
    for number, label in enumerate(engine.labels):
        assert abs(float(yes[number] / (yes[number] + no[number])) - label.score) < 1e-4
        assert abs(float(yes[number] + no[number]) - label.mass) < 1e-4


def test_a_lesson_asks_about_every_policy_in_both_languages(shots: list[Shelf]) -> None:
    model, tokenizer = new_model(0), recipe.make_tokenizer()
    one_a_class = [
        Shelf(np.full((1, 112, 112, 3), 9, np.uint8), np.array([cls]), np.zeros((1, 16), np.int64))
        for cls in range(len(CLASSES))
    ]
    teacher = recipe.make_teacher(model, tokenizer, one_a_class)
    said: Counter[str] = Counter()
    rng = np.random.default_rng(0)
    for layout in language_stage.LAYOUTS:
        for _ in range(4):
            lesson = teacher.lesson(rng, layout, 16)
            assert len(lesson.answers) == len(lesson.rows.answer_rows)
            said.update(tokenizer.decode([token]) for token in lesson.answers.tolist())
    assert set(said) <= set(answers())
    assert min(said[word] for word in ("yes", "no", "是", "否")) > 10


def _square(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (112, 112, 3), dtype=np.uint8)


@pytest.mark.parametrize("disguise", SPELLINGS)
@pytest.mark.parametrize("words", ["Selling this one, I want it gone by Monday", "九成新，私聊我，便宜出手"])
def test_the_tokenizer_reads_words_that_were_spelled_to_slip_past(disguise: str, words: str) -> None:
    read = plain_spelling()
    spelled = read.normalize_str(SPELLINGS[disguise](words, np.random.default_rng(0)))
    assert spelled.replace(" ", "") == read.normalize_str(words).replace(" ", "")
    assert len(spelled.split()) <= 2 * len(words.split()) + 3


def test_a_lesson_without_images_has_none(shots: list[Shelf]) -> None:
    teacher = recipe.make_teacher(new_model(0), recipe.make_tokenizer(), shots)
    assert teacher.lesson(np.random.default_rng(0), "post_first", 16, blind=True).images is None
