from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor

from benchmarks.full_forward import full_forward_scores
from moderation_service.contracts.engine_input import Language, Questionnaire
from moderation_service.engine.base import Pixels, ScoreRequest
from moderation_service.engine.local.scorer import Scorer
from moderation_service.errors import Misconfigured
from tests.engine.local.conftest import MakeScorer

Draw = Callable[[int, int], Pixels]


@pytest.mark.parametrize("shape", [(56, 56), (60, 90), (300, 200), (2, 30), (3, 80), (1, 1)])
def test_an_image_is_read_as_the_checkpoint_s_own_processor_reads_it(
    tiny_checkpoint: Path, scorer: Scorer, make_image: Draw, shape: tuple[int, int]
) -> None:
    pixels = make_image(*shape)
    processor = AutoProcessor.from_pretrained(tiny_checkpoint)
    rendered = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "hello"}]}],
        tokenize=False, add_generation_prompt=True, enable_thinking=False,
    )  # fmt: skip
    wanted = processor(text=rendered, images=[np.array(pixels)], input_data_format="channels_last")
    post = scorer.post_tokenizer.tokenize("hello", (pixels,), room=500)
    ours = scorer.preprocessor.inputs(post.images)
    assert torch.equal(ours["pixel_values"], wanted["pixel_values"])
    assert ours["image_grid_thw"].tolist() == torch.as_tensor(wanted["image_grid_thw"]).tolist()
    prefix, close = (scorer.tokenizer.encode_trusted(text) for text in (scorer.tokenizer.frame.user, "/nothink"))
    ids = list(wanted["input_ids"][0])
    assert ids[: len(prefix) + len(post.ids) + len(close)] == [*prefix, *post.ids, *close]


@pytest.mark.parametrize("shape", [(1, 4000), (4000, 1), (5, 3000)])
def test_an_image_too_narrow_for_the_processor_is_widened(
    scorer: Scorer, questionnaires: dict[Language, Questionnaire], make_image: Draw, shape: tuple[int, int]
) -> None:
    request = ScoreRequest("hello", (make_image(*shape),), questionnaires["en"], (0,))
    scored = scorer.score([request])[0]
    assert not scored.truncated
    assert scored.labels[0].score == pytest.approx(full_forward_scores(scorer, request)[0].score, abs=1e-4)


def test_the_pixels_that_are_read_of_each_image_are_told(
    make_scorer: MakeScorer, questionnaires: dict[Language, Questionnaire], make_image: Draw
) -> None:
    def read(scorer: Scorer, *shapes: tuple[int, int]) -> tuple[int, ...]:
        images = tuple(make_image(*shape) for shape in shapes)
        return scorer.score([ScoreRequest("", images, questionnaires["en"], (0,))])[0].pixels_read

    assert read(make_scorer(), (20, 30), (500, 500), (84, 84)) == (600, 84 * 84, 84 * 84)  # none by enlarging it
    crowded = read(make_scorer(max_context_tokens=256), *[(84, 84)] * 30)
    assert len(crowded) == 30
    assert min(crowded) < 84 * 84


@pytest.mark.parametrize("layout", ["post_first", "policies_first"])
@pytest.mark.parametrize("prompt", ["brief", "full"])
def test_a_long_text_is_cut_at_the_context_and_says_so(
    make_scorer: MakeScorer, questionnaires: dict[Language, Questionnaire], layout: str, prompt: str
) -> None:
    scorer = make_scorer(layout, prompt, max_context_tokens=600)
    prefix = scorer.prefix(questionnaires["en"])
    text = "Meet me behind the school. " * 400
    requests = [ScoreRequest(text + end, (), questionnaires["en"], (0, 1, 2)) for end in ("", " And now.")]
    scored = scorer.score(requests)
    post = scorer.post_tokenizer.tokenize(text, (), prefix.room)
    assert [one.truncated for one in scored] == [True, True]
    assert scored[0].labels == scored[1].labels  # the head is what is kept
    assert len(prefix.ids) + len(post.ids) + max(map(len, prefix.suffixes)) == 600
    assert post.ids[-5:] == scorer.tokenizer.encode_untrusted(scorer.prompts.words(text))[-5:] or prompt == "brief"


def test_a_text_that_just_fits_is_not_cut(scorer: Scorer) -> None:
    ids = scorer.tokenizer.encode_untrusted("Meet me behind the school.")
    assert not scorer.post_tokenizer.tokenize("Meet me behind the school.", (), len(ids)).truncated
    short = scorer.post_tokenizer.tokenize("Meet me behind the school.", (), len(ids) - 1)
    assert short.truncated
    assert short.ids == ids[:-1]


def test_a_text_beyond_any_context_is_cut_before_it_is_tokenized(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []
    untrusted = scorer.tokenizer.encode_untrusted
    monkeypatch.setattr(scorer.tokenizer, "encode_untrusted", lambda text: lengths.append(len(text)) or untrusted(text))
    assert scorer.post_tokenizer.tokenize("a" * 10_000_000, (), 100).truncated
    assert max(lengths) < 10_000


def test_the_words_stay_closed_when_they_are_cut(make_scorer: MakeScorer) -> None:
    scorer = make_scorer("post_first", "full")
    post = scorer.post_tokenizer.tokenize("hello " * 500, (), 60)
    words = scorer.checkpoint.tokenizer.decode(post.ids)
    assert len(post.ids) == 60
    assert words.startswith("<post>\nhello")
    assert words.endswith("\n</post>")


def test_images_come_before_words_and_are_shrunk_to_an_even_share(scorer: Scorer, make_image: Draw) -> None:
    images = (make_image(280, 280), make_image(56, 56), make_image(280, 560))
    whole = scorer.post_tokenizer.tokenize("hello", images, 5000)
    room = len(whole.ids) * 2 // 3
    post = scorer.post_tokenizer.tokenize("hello", images, room)
    before, after = ([int(one.grid.prod()) for one in read.images] for read in (whole, post))
    assert not whole.truncated
    assert not post.truncated
    assert len(post.ids) <= room
    assert len(after) == 3
    assert sum(after) < sum(before)
    assert post.ids[-1] == whole.ids[-1]


def test_neither_words_nor_images_crowd_out_the_other(scorer: Scorer, make_image: Draw) -> None:
    words = "word " * 400
    post = scorer.post_tokenizer.tokenize(words, (make_image(560, 560), make_image(560, 560)), 120)
    marks = sum(int(one.grid.prod()) // 4 + 2 for one in post.images)
    assert len(post.images) == 2
    assert post.truncated
    assert len(post.ids) - marks >= 40
    assert len(post.ids) <= 120
    alone = scorer.post_tokenizer.tokenize(words, (), 120)
    assert len(alone.ids) == 120


def test_images_that_can_not_be_made_small_enough_are_left_out(scorer: Scorer, make_image: Draw) -> None:
    images = tuple(make_image(56, 56) for _ in range(30))
    post = scorer.post_tokenizer.tokenize("hello", images, 40)
    assert post.truncated
    assert len(post.images) < 30
    assert len(post.ids) <= 40


def test_the_context_ends_where_the_model_s_positions_do(
    make_scorer: MakeScorer, questionnaires: dict[Language, Questionnaire]
) -> None:
    positions = make_scorer().checkpoint.config.text_config.max_position_embeddings
    short, long = (make_scorer(max_context_tokens=limit) for limit in (positions, 100 * positions))
    assert short.prefix(questionnaires["en"]).room == long.prefix(questionnaires["en"]).room


def test_policies_that_leave_no_room_for_a_post_are_refused(
    make_scorer: MakeScorer, questionnaires: dict[Language, Questionnaire]
) -> None:
    scorer = make_scorer("policies_first", "full", max_context_tokens=256)
    pack = Questionnaire("en", questionnaires["en"].questions * 4)
    with pytest.raises(Misconfigured, match=r"the policies alone take .* of the 256 tokens"):
        scorer.score([ScoreRequest("hello", (), pack, (0,))])
