"""Both layouts, in batches, answer as one full forward of its own for each policy does."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.full_forward import full_forward_scores
from moderation_service.contracts.engine_input import Language, Question, Questionnaire
from moderation_service.engine.base import MAX_CACHED_PREFIXES, LabelScore, Pixels, ScoreRequest, ScoreResult
from moderation_service.engine.layouts import LAYOUTS
from moderation_service.engine.layouts.post_first import PostFirst
from moderation_service.engine.local import packed_row
from moderation_service.engine.local import scorer as scorer_module
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.engine.local.memory_check import MAX_CACHED_CONTEXTS
from moderation_service.engine.local.packed_row import PackedRow
from moderation_service.engine.local.post_tokenizer import TokenizedPost
from moderation_service.engine.local.scorer import Scorer
from moderation_service.engine.prompts import PromptName
from moderation_service.settings import EngineSettings, LayoutName
from tests.engine.local.conftest import MakeScorer
from tests.engine.local.tiny import save_checkpoint

TOLERANCE = 1e-4
Draw = Callable[[int, int], Pixels]


@pytest.fixture
def posts(questionnaires: dict[Language, Questionnaire], make_image: Draw) -> list[ScoreRequest]:
    en, zh = questionnaires["en"], questionnaires["zh"]
    two = (make_image(60, 90), make_image(56, 56))
    long = "Meet me behind the school, I have what you look for. " * 4
    return [
        ScoreRequest("Lightly used, message me", two, en, (0, 1, 2)),
        ScoreRequest("Lightly used, message me", (), en, (0, 1, 2)),  # its text alone, right after
        ScoreRequest("", two, en, (0, 1, 2)),  # its images alone
        ScoreRequest(long, (), en, (2, 0)),
        ScoreRequest("九成新，私聊报价", (make_image(30, 200), make_image(90, 40), make_image(40, 40)), zh, (0, 1)),
        ScoreRequest("no", (), en, (1,)),
        ScoreRequest("", (), zh, (1,)),
        ScoreRequest(long + "九成新", (make_image(400, 300),), en, (0, 1, 2)),
    ]


def difference(got: Sequence[LabelScore], wanted: Sequence[LabelScore]) -> float:
    return max(
        max(abs(one.score - other.score), abs(one.mass - other.mass)) for one, other in zip(got, wanted, strict=True)
    )


def furthest(scorer: Scorer, requests: Sequence[ScoreRequest], got: Sequence[ScoreResult]) -> float:
    return max(
        difference(scored.labels, full_forward_scores(scorer, request))
        for request, scored in zip(requests, got, strict=True)
    )


class NamesFirst(PostFirst):
    """The names of all policies in the prefix, a policy's question behind the post."""

    policies_in_prefix = True

    def prefix(self, questions: Sequence[Question], *_: object) -> str:
        return ", ".join(question.policy_id for question in questions)


def test_a_third_layout_is_a_class_and_an_entry(
    make_scorer: MakeScorer, posts: list[ScoreRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LAYOUTS, "names_first", NamesFirst())  # type: ignore[misc]
    scorer = make_scorer("names_first")
    scored = scorer.score(posts)
    assert furthest(scorer, posts, scored) < TOLERANCE
    assert difference(scored[0].labels, make_scorer("post_first").score(posts)[0].labels) > TOLERANCE


@pytest.mark.parametrize("prompt", ["brief", "full"])
@pytest.mark.parametrize("layout", ["post_first", "policies_first"])
class TestEitherLayout:
    def test_a_mixed_batch_answers_as_one_forward_a_policy(
        self, make_scorer: MakeScorer, posts: list[ScoreRequest], layout: LayoutName, prompt: PromptName
    ) -> None:
        scorer = make_scorer(layout, prompt)
        assert furthest(scorer, posts, scorer.score(posts)) < TOLERANCE

    def test_a_text_right_after_images_answers_as_if_it_came_first(
        self, make_scorer: MakeScorer, posts: list[ScoreRequest], layout: LayoutName, prompt: PromptName
    ) -> None:
        scorer = make_scorer(layout, prompt)
        with_image, text = posts[0], posts[1]
        fresh = scorer.score([text])
        scorer.score([with_image])
        assert difference(scorer.score([text])[0].labels, fresh[0].labels) == 0
        assert furthest(scorer, [text], fresh) < TOLERANCE

    def test_a_post_answers_alike_alone_in_small_batches_and_in_one(
        self, make_scorer: MakeScorer, posts: list[ScoreRequest], layout: LayoutName, prompt: PromptName
    ) -> None:
        together = make_scorer(layout, prompt).score(posts)
        small = make_scorer(layout, prompt, max_batch_tokens=300).score(posts)
        alone = [make_scorer(layout, prompt).score([post])[0] for post in posts]
        for one, other, third in zip(together, small, alone, strict=True):
            assert difference(one.labels, other.labels) < TOLERANCE
            assert difference(one.labels, third.labels) < TOLERANCE
            assert (one.tokens, one.truncated) == (other.tokens, other.truncated) == (third.tokens, third.truncated)

    def test_a_post_over_the_batchs_budget_answers_in_parts_as_in_one(
        self, make_scorer: MakeScorer, posts: list[ScoreRequest], layout: LayoutName, prompt: PromptName
    ) -> None:
        split = make_scorer(layout, prompt, max_batch_tokens=1)  # a question a forward
        for whole, parted in zip(make_scorer(layout, prompt).score(posts), split.score(posts), strict=True):
            assert difference(whole.labels, parted.labels) < 1e-5

    def test_what_else_is_asked_moves_no_answer(
        self, make_scorer: MakeScorer, posts: list[ScoreRequest], layout: LayoutName, prompt: PromptName
    ) -> None:
        scorer = make_scorer(layout, prompt)
        post = posts[0]
        whole = scorer.score([post])[0].labels
        some = ScoreRequest(post.text, post.images, post.questionnaire, (2, 0))
        assert difference(scorer.score([some])[0].labels, [whole[2], whole[0]]) < TOLERANCE

    def test_answers_differ_between_posts_and_policies(
        self, make_scorer: MakeScorer, posts: list[ScoreRequest], layout: LayoutName, prompt: PromptName
    ) -> None:
        """Were they all alike, the tests above would prove nothing."""
        answers = [scored.labels for scored in make_scorer(layout, prompt).score(posts[:3])]
        for one, other in pairwise(answers):
            assert difference(one, other) > 100 * TOLERANCE
        for labels in answers:
            assert all(abs(one.score - other.score) > 10 * TOLERANCE for one, other in pairwise(labels))

    def test_positions_counted_along_the_row_would_be_caught(
        self,
        make_scorer: MakeScorer,
        posts: list[ScoreRequest],
        monkeypatch: pytest.MonkeyPatch,
        layout: LayoutName,
        prompt: PromptName,
    ) -> None:
        scorer = make_scorer(layout, prompt)
        wanted = full_forward_scores(scorer, posts[0])

        def along(post: TokenizedPost, start: int, *_: int) -> torch.Tensor:
            return torch.arange(start, start + len(post.ids)).expand(3, -1)

        monkeypatch.setattr(packed_row, "post_positions", along)
        assert difference(scorer.score(posts[:1])[0].labels, wanted) > 10 * TOLERANCE

    def test_questions_placed_behind_each_other_would_be_caught(
        self,
        make_scorer: MakeScorer,
        posts: list[ScoreRequest],
        monkeypatch: pytest.MonkeyPatch,
        layout: LayoutName,
        prompt: PromptName,
    ) -> None:
        scorer = make_scorer(layout, prompt)
        wanted = full_forward_scores(scorer, posts[1])
        forward = scorer._forward

        def behind_each_other(position_ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
            first, length = position_ids[0, 0, 0], position_ids.shape[2]
            return forward(position_ids=(first + torch.arange(length)).expand(3, 1, -1), **inputs)

        monkeypatch.setattr(scorer, "_forward", behind_each_other)
        assert difference(scorer.score(posts[1:2])[0].labels, wanted) > 10 * TOLERANCE

    def test_questions_that_see_each_other_would_be_caught(
        self,
        make_scorer: MakeScorer,
        posts: list[ScoreRequest],
        monkeypatch: pytest.MonkeyPatch,
        layout: LayoutName,
        prompt: PromptName,
    ) -> None:
        scorer = make_scorer(layout, prompt)
        pack_rows = scorer_module.pack_rows

        def as_one(*args: Any) -> PackedRow:
            packed = pack_rows(*args)
            return replace(packed, suffixes=packed.suffixes_by_post)

        monkeypatch.setattr(scorer_module, "pack_rows", as_one)
        assert furthest(scorer, posts[:1], scorer.score(posts[:1])) > 10 * TOLERANCE


@pytest.mark.parametrize("layout", ["post_first", "policies_first"])
@pytest.mark.parametrize("member", ["glm46v", "glm4v_moe"])
def test_the_other_members_of_the_family_answer_as_one_forward_a_policy(
    tmp_path: Path, posts: list[ScoreRequest], member: str, layout: LayoutName
) -> None:
    model = save_checkpoint(tmp_path, member=member)
    checkpoint = load_checkpoint(EngineSettings(model=str(model), device="cpu", dtype="float32"))
    scorer = Scorer(checkpoint, layout, "brief", max_context_tokens=1024, max_batch_tokens=4096)
    assert furthest(scorer, posts, scorer.score(posts)) < TOLERANCE


def test_a_pack_s_prefix_is_computed_once_and_stays_as_it_was(
    make_scorer: MakeScorer, posts: list[ScoreRequest], questionnaires: dict[Language, Questionnaire]
) -> None:
    scorer = make_scorer("policies_first")
    prefix = scorer.prefix(questionnaires["en"])
    before = [keys.clone() for keys, _ in prefix.key_values]
    scorer.score(posts)
    assert scorer.prefix(questionnaires["en"]) is prefix
    assert all(torch.equal(keys, kept) for (keys, _), kept in zip(prefix.key_values, before, strict=True))


def test_the_prefix_not_used_for_longest_makes_room_for_a_new_one(
    scorer: Scorer, questionnaires: dict[Language, Questionnaire]
) -> None:
    first = questionnaires["en"]
    others = [Questionnaire("en", first.questions[:1] * count) for count in range(1, MAX_CACHED_PREFIXES + 1)]
    kept = scorer.prefix(first)
    for other in others[:-1]:
        scorer.prefix(other)
    assert scorer.prefix(first) is kept
    scorer.prefix(others[-1])
    assert scorer.prefix(first) is kept
    assert len(scorer._prefixes) == MAX_CACHED_PREFIXES
    assert others[0] not in scorer._prefixes


def test_kept_prefixes_have_no_more_tokens_than_the_memory_check_counts(
    make_scorer: MakeScorer, questionnaires: dict[Language, Questionnaire]
) -> None:
    scorer = make_scorer("policies_first", "brief", max_context_tokens=256)
    (question,) = questionnaires["en"].questions[:1]
    for count in range(8, 13):
        scorer.prefix(Questionnaire("en", (question,) * count))
    kept = [len(prefix.ids) for prefix in scorer._prefixes.values()]
    assert 1 < len(kept) < 5
    assert sum(kept) <= MAX_CACHED_CONTEXTS * 256


def test_a_shadow_pack_beside_the_enforced_one_moves_no_score(
    make_scorer: MakeScorer, questionnaires: dict[Language, Questionnaire]
) -> None:
    scorer = make_scorer("policies_first")
    enforced = ScoreRequest("Lightly used", (), questionnaires["en"], (0, 1, 2))
    shadow = ScoreRequest("Lightly used", (), questionnaires["zh"], (0, 1))
    alone = scorer.score([enforced])[0]
    assert difference(scorer.score([shadow, enforced])[1].labels, alone.labels) == 0


def test_label_variants_are_summed_and_their_mass_kept(scorer: Scorer) -> None:
    hidden = torch.randn(3, 64, generator=torch.Generator().manual_seed(1))
    chances = scorer.checkpoint.model.lm_head(hidden).softmax(-1)
    yes = chances[:, list(scorer.tokenizer.yes)].sum(-1)
    no = chances[:, list(scorer.tokenizer.no)].sum(-1)
    with torch.inference_mode():
        answers = scorer._label_scores(hidden)
    assert len(scorer.tokenizer.yes) == len(scorer.tokenizer.no) == 3
    assert [answer.mass for answer in answers] == pytest.approx((yes + no).tolist(), abs=1e-6)
    assert [answer.score for answer in answers] == pytest.approx((yes / (yes + no)).tolist(), abs=1e-6)


def test_a_request_that_asks_nothing_is_answered_with_nothing(
    scorer: Scorer, questionnaires: dict[Language, Questionnaire]
) -> None:
    nothing = ScoreRequest("hello", (), questionnaires["en"], ())
    something = ScoreRequest("hello", (), questionnaires["en"], (1,))
    assert scorer.score([]) == []
    assert scorer.score([nothing]) == [ScoreResult.unasked(())]
    assert [len(scored.labels) for scored in scorer.score([nothing, something, nothing])] == [0, 1, 0]


def test_tokens_are_counted_once_each(scorer: Scorer, questionnaires: dict[Language, Questionnaire]) -> None:
    prefix = scorer.prefix(questionnaires["en"])
    words = scorer.tokenizer.encode_untrusted("hello")
    scored = scorer.score([ScoreRequest("hello", (), questionnaires["en"], (0, 2))])[0]
    assert scored.tokens == len(prefix.ids) + len(words) + len(prefix.suffixes[0]) + len(prefix.suffixes[2])
