"""Other ways to ask the same model the same questions about the same posts, each as its own makers mean it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import torch
import transformers
from PIL import Image
from transformers import GenerationConfig, PreTrainedModel, pipeline
from transformers.pipelines import SUPPORTED_TASKS

from benchmarks.full_forward import label_score
from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.engine.base import LabelScore, ScoreRequest
from moderation_service.engine.local.scorer import Scorer
from moderation_service.engine.openai.engine import RemoteEngine
from moderation_service.settings import EngineSettings, LayoutName

GENERATED = 32
"""Tokens that `generate` writes for a policy, no fewer and no more."""


class Prefill:
    """One prompt a policy, of all posts of a batch at once: the model's own forward, the last position's logits."""

    def __init__(self, scorer: Scorer) -> None:
        """`scorer` gives the tokens; nothing is kept from one forward to the next."""
        self._scorer, self._model = scorer, scorer.checkpoint.model

    @torch.inference_mode()
    def score(self, requests: Sequence[ScoreRequest]) -> list[list[LabelScore]]:
        """Each post's answers."""
        answers: list[list[LabelScore]] = [[] for _ in requests]
        for inputs in self._inputs(requests):
            logits = self._model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
            for own, row in zip(answers, logits, strict=True):
                own.append(label_score(row, self._scorer.tokenizer))
        return answers

    @torch.inference_mode()
    def generate(self, requests: Sequence[ScoreRequest]) -> None:
        """The same prompts, and GENERATED tokens written behind each."""
        kept = self._model.generation_config
        self._model.generation_config = GenerationConfig(
            do_sample=False, min_new_tokens=GENERATED, max_new_tokens=GENERATED, pad_token_id=0, eos_token_id=0
        )
        try:
            for inputs in self._inputs(requests):
                self._model.generate(**inputs)
        finally:
            self._model.generation_config = kept
            self._model.model.rope_deltas = None

    def _inputs(self, requests: Sequence[ScoreRequest]) -> list[dict[str, torch.Tensor]]:
        """A batch for each policy, padded on the left; images are read and cut once for all of them."""
        scorer, device = self._scorer, self._scorer.checkpoint.device
        prefix = scorer.prefix(requests[0].questionnaire)
        posts = [scorer.post_tokenizer.tokenize(request.text, request.images, prefix.room) for request in requests]
        images = scorer.preprocessor.inputs([image for post in posts for image in post.images])
        longest = max(len(post.ids) for post in posts)
        batches = []
        for number in requests[0].asked:
            prompts = [
                [scorer.tokenizer.pad] * (longest - len(post.ids)) + prefix.ids + post.ids + prefix.suffixes[number]
                for post in posts
            ]
            ids = torch.tensor(prompts, device=device)
            seen = torch.ones_like(ids)
            for row, post in zip(seen, posts, strict=True):
                row[: longest - len(post.ids)] = 0
            kinds = (ids == scorer.checkpoint.config.image_token_id).int()
            batches.append({"input_ids": ids, "attention_mask": seen, "mm_token_type_ids": kinds, **images})
        return batches


class DecisionPipeline:
    """transformers' own pipeline for such questions, in its own words; one prompt a question, one at a time."""

    def __init__(self, model: PreTrainedModel, processor: Any) -> None:  # noqa: ANN401 - transformers' own
        """`processor` is nobody else's: the pipeline adds tokens to its tokenizer."""
        self._decide = pipeline("decision", model=model, processor=processor, tokenizer=processor.tokenizer)

    @staticmethod
    def missing() -> str | None:
        """Why it can't be asked, or None where it can."""
        return None if "decision" in SUPPORTED_TASKS else f"transformers {transformers.__version__} has none"

    def score(self, requests: Sequence[ScoreRequest]) -> None:
        """Let it answer; its prompts are other ones, and so are its scores."""
        for request in requests:
            names = [f"img-{number}" for number in range(len(request.images))]
            questions = [request.questionnaire.questions[number] for number in request.asked]
            self._decide(
                {
                    "state": " ".join([*names, request.text]),
                    "questions": {one.policy_id: {"type": "noul", "instructions": one.question} for one in questions},
                    "assets": {
                        name: Image.fromarray(pixels) for name, pixels in zip(names, request.images, strict=True)
                    },
                }
            )


class BenchServer:
    """An OpenAI-compatible server with a model by this name, asked as the remote engine asks it, all posts at once."""

    def __init__(self, base_url: str, model: str, layout: LayoutName) -> None:
        """Raises as the remote engine does where the server can't be asked."""
        settings = EngineSettings(
            kind="openai", base_url=base_url, model=model, revision="unknown", layout=layout, prompt="brief"
        )
        self._engine = RemoteEngine(settings)
        self._loop = asyncio.Runner()
        self._loop.run(self._engine.start())

    def prepare(self, questionnaire: Questionnaire) -> None:
        """Let the server read what all posts share."""
        self._loop.run(self._engine.prepare(questionnaire))

    def score(self, requests: Sequence[ScoreRequest]) -> list[Sequence[LabelScore]]:
        """Each post's answers."""
        return [scored.labels for scored in self._loop.run(self._engine.score(requests))]

    def close(self) -> None:
        """Leave the server."""
        self._loop.run(self._engine.close())
        self._loop.close()
