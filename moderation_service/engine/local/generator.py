"""Why a post was flagged, in the model's own words. Greedy, and a post's words do not depend on who it is with."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria

from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.engine.base import ExplainRequest, GeneratedText
from moderation_service.engine.layouts.post_first import PostFirst
from moderation_service.engine.local.post_tokenizer import PostTokenizer, TokenizedPost
from moderation_service.engine.local.scorer import Scorer
from moderation_service.engine.prompts import MAX_NEW_TOKENS, Prompts, explanation_suffix


class _BetweenTokens(StoppingCriteria):  # type: ignore[misc]  # transformers' are untyped
    """Asked after every token whether to stop: it never does, and calls `between`."""

    def __init__(self, between: Callable[[], None]) -> None:
        self._between = between

    def __call__(self, input_ids: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """One False a row [B]."""
        self._between()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


class Generator:
    """Explains with a scorer's checkpoint and tokenizer. Synchronous, for the same one thread."""

    def __init__(self, scorer: Scorer) -> None:
        """The checkpoint's own generation settings (sampling, penalties) go: all but what ends an answer."""
        self._checkpoint, self._tokenizer = scorer.checkpoint, scorer.tokenizer
        self._preprocessor = scorer.preprocessor
        self._limit, self._max_batch_tokens = scorer.context_tokens, scorer.max_batch_tokens
        # Whatever the judging prompt is: the words stand between marks, and are not to be followed.
        self._prompts = Prompts(self._tokenizer.frame, PostFirst(), "full")
        self._post_tokenizer = PostTokenizer(scorer.preprocessor, self._tokenizer, self._prompts)
        model = self._checkpoint.model
        ends = model.generation_config.eos_token_id
        ends = self._checkpoint.tokenizer.eos_token_id if ends is None else ends
        self._ends = frozenset(ends if isinstance(ends, list) else [ends]) - {None}
        model.generation_config = GenerationConfig(
            do_sample=False, eos_token_id=sorted(self._ends) or None, pad_token_id=self._tokenizer.pad
        )

    @torch.inference_mode()
    def explain(
        self, requests: Sequence[ExplainRequest], between: Callable[[], None] = lambda: None
    ) -> list[GeneratedText]:
        """Write for each request, in its place, within the least `timeout_s`; a prompt without room stays empty.

        `between` is called after every token, and may use the model meanwhile.
        """
        deadline = time.monotonic() + min(request.timeout_s for request in requests)
        prompts = [self._prompt(request) for request in requests]
        done = [GeneratedText("", "length", 0, 0)] * len(requests)
        fitting = [number for number, (ids, _) in enumerate(prompts) if ids]
        lengths = [len(prompts[number][0]) + MAX_NEW_TOKENS for number in fitting]
        for part in plan_padded_batches(lengths, self._max_batch_tokens):
            chosen = [fitting[place] for place in part]
            written = self._write([prompts[number] for number in chosen], deadline, between)
            for number, one in zip(chosen, written, strict=True):
                done[number] = one
        return done

    def _prompt(self, request: ExplainRequest) -> tuple[list[int], TokenizedPost]:
        """All tokens of a request's prompt; none where what is asked leaves no room for the post."""
        prefix = self._tokenizer.encode_trusted(self._prompts.prefix(Questionnaire(request.language, ())))
        asked = explanation_suffix(request.language, request.findings)
        suffix = self._tokenizer.encode_trusted(asked + self._tokenizer.frame.close)
        room = self._limit - len(prefix) - len(suffix) - MAX_NEW_TOKENS
        post = self._post_tokenizer.tokenize(request.text, request.images, max(room, 0))
        return ([*prefix, *post.ids, *suffix] if room > 0 else []), post

    def _write(
        self, prompts: Sequence[tuple[list[int], TokenizedPost]], deadline: float, between: Callable[[], None]
    ) -> list[GeneratedText]:
        """One batch [B, Q], padded on the left so that all answers begin in the same column."""
        left = deadline - time.monotonic()
        if left <= 0:
            return [GeneratedText("", "time", 0, 0)] * len(prompts)
        device, longest = self._checkpoint.device, max(len(ids) for ids, _ in prompts)
        padded = [[self._tokenizer.pad] * (longest - len(ids)) + ids for ids, _ in prompts]
        seen = [[0] * (longest - len(ids)) + [1] * len(ids) for ids, _ in prompts]
        asked = torch.tensor(padded, device=device)
        model: Any = self._checkpoint.model
        try:
            answers = model.generate(
                input_ids=asked,
                attention_mask=torch.tensor(seen, device=device),
                mm_token_type_ids=(asked == self._checkpoint.config.image_token_id).int(),
                max_new_tokens=MAX_NEW_TOKENS,
                max_time=left,
                stopping_criteria=[_BetweenTokens(between)],
                **self._preprocessor.inputs([image for _, post in prompts for image in post.images]),
            )[:, longest:].tolist()
        finally:
            model.model.rope_deltas = None  # generate leaves this batch's on the model
        return [self._read(answer, len(ids)) for answer, (ids, _) in zip(answers, prompts, strict=True)]

    def _read(self, answer: list[int], tokens: int) -> GeneratedText:
        end = next((place for place, token in enumerate(answer) if token in self._ends), len(answer))
        text = self._tokenizer.decode_answer(answer[:end])
        if end < len(answer):
            return GeneratedText(text, "itself", tokens, end)
        return GeneratedText(text, "length" if end == MAX_NEW_TOKENS else "time", tokens, end)


def plan_padded_batches(lengths: Sequence[int], max_batch_tokens: int) -> list[list[int]]:
    """Which rows go together: alike in length, so that little is padded, and `max_batch_tokens` with padding.

    A row is never split; one that is longer by itself is a batch of its own.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        # Sorted: the row that comes last is the longest so far.
        if batches and (len(batches[-1]) + 1) * lengths[index] <= max_batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
