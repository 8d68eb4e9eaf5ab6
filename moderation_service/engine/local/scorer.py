"""The forward: posts behind a kept prefix, label scores out. Synchronous, for one thread; `preprocess` is for any."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import isfinite
from threading import Lock
from typing import Any

import torch
from cachetools import LRUCache
from transformers.cache_utils import DynamicCache

from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.engine.answer_prefix import FirstTokens
from moderation_service.engine.base import MAX_CACHED_PREFIXES, LabelScore, ScoreRequest, ScoreResult
from moderation_service.engine.layouts import LAYOUTS
from moderation_service.engine.local.attention import CuSeqlens, to_device
from moderation_service.engine.local.checkpoint import Checkpoint
from moderation_service.engine.local.image_encoder import ImagePreprocessor, VisionEncoder
from moderation_service.engine.local.memory_check import ANSWERS_A_PROJECTION, MAX_CACHED_CONTEXTS
from moderation_service.engine.local.packed_row import AttentionMetadata, PostRow, pack_rows, split_into_batches
from moderation_service.engine.local.post_tokenizer import PostTokenizer, SafeTokenizer
from moderation_service.engine.prompts import Labels, PromptName, Prompts
from moderation_service.errors import Misconfigured, Transient
from moderation_service.settings import LayoutName

TOP_LOGPROBS = 20  # tokens, as servers give


@dataclass(frozen=True, slots=True)
class Prefix:
    """What every post of a questionnaire stands behind, computed once, and the suffixes that follow the post.

    `key_values` are its P tokens' keys and values, [key heads, P, head size] each, a pair a layer.
    """

    ids: list[int]
    key_values: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    suffixes: tuple[list[int], ...]
    room: int


@dataclass(frozen=True, slots=True)
class PreprocessedRequest(ScoreRequest):
    """A request whose words and images have been read: `row` is what the model is asked."""

    row: PostRow


class Scorer:
    """Label scores of a checkpoint, in any layout."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        layout: LayoutName,
        prompt: PromptName,
        *,
        labels: Labels = Labels(),  # noqa: B008 - frozen
        max_context_tokens: int,
        max_batch_tokens: int,
    ) -> None:
        """Raises Fatal for a tokenizer, chat template or image processor that can't be used."""
        self.checkpoint = checkpoint
        self.tokenizer = SafeTokenizer(checkpoint.tokenizer, checkpoint.config.image_token_id, labels)
        self._labels = torch.tensor([*self.tokenizer.yes, *self.tokenizer.no], device=checkpoint.device)
        self.prompts = Prompts(self.tokenizer.frame, LAYOUTS[layout], prompt, labels)
        self.preprocessor = ImagePreprocessor(checkpoint.image_processor, checkpoint.device)
        self.post_tokenizer = PostTokenizer(self.preprocessor, self.tokenizer, self.prompts)
        self._vision = VisionEncoder(checkpoint.model, self.preprocessor)
        self.context_tokens = min(max_context_tokens, checkpoint.config.text_config.max_position_embeddings)
        self.max_batch_tokens = max_batch_tokens
        most_tokens = MAX_CACHED_CONTEXTS * self.context_tokens
        self._prefixes: LRUCache[Questionnaire, Prefix] = LRUCache(most_tokens, getsizeof=lambda kept: len(kept.ids))
        self._prefixes_lock = Lock()

    @torch.inference_mode()
    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """Answer each request, in its place.

        Raises Misconfigured for policies too long for the context, Transient for scores that are no numbers.
        """
        done: dict[int, ScoreResult] = {}
        for questionnaire in dict.fromkeys(request.questionnaire for request in requests):
            own = [number for number, request in enumerate(requests) if request.questionnaire == questionnaire]
            answered = self._score_questionnaire(self.prefix(questionnaire), [requests[number] for number in own])
            done.update(zip(own, answered, strict=True))
        return [done[number] for number in range(len(requests))]

    def preprocess(self, request: ScoreRequest) -> ScoreRequest:
        """Read a request beside the model, on any thread; as it was where its prefix isn't kept."""
        with self._prefixes_lock:
            prefix = self._prefixes.get(request.questionnaire)
        if prefix is None:
            return request
        row = self.row(prefix, request)
        _ = [image.key for image in row.post.images]  # which each keeps
        return PreprocessedRequest(request.text, request.images, request.questionnaire, request.asked, row)

    def prefix(self, questionnaire: Questionnaire) -> Prefix:
        """The questionnaire's prefix: a kept one, or a new one in the place of that not used for longest."""
        with self._prefixes_lock:
            prefix = self._prefixes.get(questionnaire)
        if prefix is None:
            prefix = self._compute_prefix(questionnaire)
            with self._prefixes_lock:
                self._prefixes[questionnaire] = prefix
                while len(self._prefixes) > MAX_CACHED_PREFIXES:
                    self._prefixes.popitem()
        return prefix

    def set_answer_prefix(self, prefix: str) -> None:
        """Ask from now on where the answer begins with `prefix`; what is kept of other prompts goes."""
        self.prompts = replace(self.prompts, answer_prefix=prefix)
        self.clear_caches()

    @torch.inference_mode()
    def first_tokens(self, request: ScoreRequest) -> FirstTokens:
        """What may come first in the answer to the one question asked."""
        prefix = self.prefix(request.questionnaire)
        post = self.post_tokenizer.tokenize(request.text, request.images, prefix.room)
        hidden = self._hidden(prefix, [PostRow(post, prefix.suffixes)])
        chances, tokens = self.checkpoint.model.lm_head(hidden[0]).float().softmax(-1).topk(TOP_LOGPROBS)
        named = map(self.tokenizer.decode_token, tokens.tolist())
        return FirstTokens(self._label_scores(hidden)[0], tuple(zip(named, chances.tolist(), strict=True)))

    def clear_caches(self) -> None:
        """Drop all kept prefixes and features of images."""
        with self._prefixes_lock:
            self._prefixes.clear()
        self._vision.clear()

    def _compute_prefix(self, questionnaire: Questionnaire) -> Prefix:
        ids = self.tokenizer.encode_trusted(self.prompts.prefix(questionnaire))
        prefix = self.prompts.answer_prefix
        suffixes = tuple(
            self.tokenizer.encode_trusted(suffix + prefix) for suffix in self.prompts.suffixes(questionnaire)
        )
        longest = max(map(len, suffixes), default=0)
        # By the longest suffix of all, so that what is cut does not depend on what is asked.
        room = self.context_tokens - len(ids) - longest
        if room <= 0:
            msg = (
                f"engine.max_context_tokens: the policies alone take {len(ids) + longest} of the"
                f" {self.context_tokens} tokens the model may read; use shorter or fewer policies, or a larger context"
            )
            raise Misconfigured(msg)
        device = self.checkpoint.device
        cache = DynamicCache(config=self.checkpoint.config)
        positions = torch.arange(len(ids), device=device).expand(3, 1, -1)  # only words: the three are the same
        self._forward(input_ids=torch.tensor([ids], device=device), position_ids=positions, past_key_values=cache)
        kept = tuple((layer.keys[0], layer.values[0]) for layer in cache.layers)
        return Prefix(ids, kept, suffixes, room)

    def _score_questionnaire(self, prefix: Prefix, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        rows = [self.row(prefix, request) for request in requests]
        answers: list[list[LabelScore]] = [[] for _ in rows]
        parts = [(number, part) for number, row in enumerate(rows) for part in row.within(self.max_batch_tokens)]
        for chosen in split_into_batches([part.length for _, part in parts], self.max_batch_tokens):
            labels = iter(self._score_rows(prefix, [parts[place][1] for place in chosen]))
            for number, part in (parts[place] for place in chosen):
                answers[number] += (next(labels) for _ in part.suffixes)
        return [
            ScoreResult(
                tuple(answers[number]),
                tokens=len(prefix.ids) + row.length if row.suffixes else 0,
                pixels_read=tuple(map(self.preprocessor.pixels_read, row.post.images)),
                truncated=row.post.truncated,
            )
            for number, row in enumerate(rows)
        ]

    def row(self, prefix: Prefix, request: ScoreRequest) -> PostRow:
        """The tokens of a request: the post, and the suffixes of the questions asked."""
        if isinstance(request, PreprocessedRequest):
            return request.row
        post = self.post_tokenizer.tokenize(request.text, request.images, prefix.room)
        return PostRow(post, tuple(prefix.suffixes[number] for number in request.asked))

    def _score_rows(self, prefix: Prefix, rows: Sequence[PostRow]) -> list[LabelScore]:
        """The answers of all rows, one row behind the other."""
        parts = torch.split(self._hidden(prefix, rows), ANSWERS_A_PROJECTION)
        return [score for part in parts for score in self._label_scores(part)]

    def _hidden(self, prefix: Prefix, rows: Sequence[PostRow]) -> torch.Tensor:
        """One forward: the hidden states [A, hidden size] in which the answers of all rows are read."""
        body, device, config = self.checkpoint.model.model, self.checkpoint.device, self.checkpoint.config
        packed = pack_rows(rows, len(prefix.ids), config.image_token_id, self.preprocessor.merge)
        # All of it before the tower begins, so that nothing later waits for it.
        ids, positions, images, answers = (
            to_device(each, device) for each in (packed.ids, packed.positions, packed.images, packed.answers)
        )
        lengths = (packed.posts, packed.suffixes_by_post, packed.suffixes, [len(prefix.ids)], [ids.shape[1]])
        behind = AttentionMetadata(prefix.key_values, *(CuSeqlens(each, device) for each in lengths))
        words = body.get_input_embeddings()(ids)  # [1, N, hidden size]
        if staged := [image for row in rows for image in row.post.images]:
            words[0, images] = self._vision.features(staged).to(words.dtype)
        return self._forward(inputs_embeds=words, position_ids=positions, use_cache=False, row=behind)[0, answers]

    def _forward(self, **inputs: Any) -> torch.Tensor:  # noqa: ANN401 - the model's own arguments
        """The last hidden states [B, Q, hidden size]. Only the body: the head would project every position."""
        hidden: torch.Tensor = self.checkpoint.model.model(**inputs).last_hidden_state
        return hidden

    def _label_scores(self, hidden: torch.Tensor) -> list[LabelScore]:
        """Read the answers [A, hidden size] off the head, in float32.

        The labels' logits come from their own rows of the head; all other tokens only weigh in the mass.
        """
        head = self.checkpoint.model.lm_head
        logits = hidden.float() @ head.weight[self._labels].float().T  # [A, labels]
        others = head(hidden).float().index_fill_(1, self._labels, -torch.inf)  # [A, vocabulary]
        for_yes, for_no = (each.logsumexp(-1) for each in logits.tensor_split([len(self.tokenizer.yes)], dim=1))
        either = torch.logaddexp(for_yes, for_no)
        mass = (either - torch.logaddexp(either, others.logsumexp(-1))).exp()
        score = (for_yes - for_no).sigmoid()
        pairs = torch.stack([score, mass], dim=1).tolist()
        if not all(map(isfinite, chain.from_iterable(pairs))):
            # A score that is not a number is under every threshold: it must never pass for a low one.
            reason = "engine_error"
            raise Transient(reason, "the model's label scores are not finite")
        return [LabelScore(*pair) for pair in pairs]
