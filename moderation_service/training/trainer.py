"""LoRA on the label tokens' loss: the engine's own prompts, with gradients, through padded rows.

The loss of an answer is the cross-entropy of its first token over the whole vocabulary, where all label words of one
side count as one. So it trains the score, p(yes) / (p(yes) + p(no)), and holds the label mass, p(yes) + p(no), up.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn
from transformers.cache_utils import Cache, DynamicCache

from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.engine.local.adapter import add_layers
from moderation_service.engine.local.image_encoder import StagedImage
from moderation_service.engine.local.packed_row import PostRow
from moderation_service.engine.local.scorer import Prefix, Scorer
from moderation_service.training.examples import Example
from moderation_service.training.masked_batch import KeptPrefixLayer, pack

RATE_OF_WIDTH = 0.0128
"""Learning rate times the root of the hidden size: 2e-4 at 4096, as is usual, and 9e-4 at the bundled model's 192."""

WARM_UP_SHARE = 0.1
CLIP = 1.0
LARGEST_CLASS_WEIGHT = 4.0
POSTS_A_STEP = 12

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train. `vision`: the vision tower learns too; `patience`: epochs without a better validation loss."""

    rank: int = 16
    learning_rate: float | None = None
    epochs: int = 12
    patience: int = 3
    vision: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Epoch:
    """Mean weighted losses of one pass over the examples, the seconds so far, and whether it is the best yet."""

    number: int
    train_loss: float
    validation_loss: float
    seconds: float
    is_best: bool


@dataclass(frozen=True, slots=True)
class _Row:
    """An example in tokens, as the scorer reads it; `weights` by class and policy."""

    tokens: PostRow
    targets: tuple[float, ...]
    weights: tuple[float, ...]


ClassWeights = dict[tuple[str, str, bool], float]
"""By pass, policy and answer."""

_Posts = dict[Questionnaire, dict[str, list[_Row]]]
"""The rows of each post, by its id."""


class Trainer:
    """Trains an adapter on a scorer's model, which must have been loaded `trainable`."""

    def __init__(self, scorer: Scorer, settings: TrainingSettings) -> None:
        """Puts the adapter's layers into the model."""
        self._scorer, self._settings = scorer, settings
        torch.manual_seed(settings.seed)
        model = scorer.checkpoint.model
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=2 * settings.rank,
            target_modules=linear_layers(model, vision=settings.vision),
            task_type="CAUSAL_LM",
        )
        self.model: PeftModel = add_layers(model, config)
        self._features: dict[tuple[object, ...], torch.Tensor] = {}
        self._prefixes: dict[Questionnaire, Prefix] = {}

    def train(
        self, examples: Sequence[Example], validation: Sequence[Example], on_epoch: Callable[[Epoch], None]
    ) -> list[Epoch]:
        """Train until the validation loss has not fallen for some epochs; the adapter is that of the best."""
        settings, scorer, begun = self._settings, self._scorer, time.monotonic()
        weights = class_weights(examples)
        rows, checked = self._rows(examples, weights), self._rows(validation, weights)
        parameters = [each for each in self.model.parameters() if each.requires_grad]
        rate = settings.learning_rate or RATE_OF_WIDTH / math.sqrt(scorer.checkpoint.config.text_config.hidden_size)
        optimiser = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
        steps = settings.epochs * sum(1 for _ in self._batches(rows, torch.Generator()))
        warm_up = max(int(steps * WARM_UP_SHARE), 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min((step + 1) / warm_up, max((steps - step) / (steps - warm_up + 1), 0.0))
        )
        shuffle = torch.Generator().manual_seed(settings.seed)
        best, kept, epochs = float("inf"), get_peft_model_state_dict(self.model), list[Epoch]()
        for number in range(1, settings.epochs + 1):
            self.model.train()
            total = weight = 0.0
            for questionnaire, batch in self._batches(rows, shuffle):
                loss, of = self._loss(questionnaire, batch)
                (loss / of).backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(parameters, CLIP)
                optimiser.step()
                schedule.step()
                optimiser.zero_grad(set_to_none=True)
                total, weight = total + loss.item(), weight + of
            found = self._validate(checked)
            is_best = found < best
            epochs.append(Epoch(number, total / weight, found, time.monotonic() - begun, is_best))
            on_epoch(epochs[-1])
            if is_best:
                best = found
                kept = {name: each.clone() for name, each in get_peft_model_state_dict(self.model).items()}
            if number - max((each.number for each in epochs if each.is_best), default=0) >= settings.patience:
                break
        set_peft_model_state_dict(self.model, kept)
        return epochs

    def save(self, folder: Path) -> None:
        """Write the adapter in PEFT's format, weights as safetensors."""
        self.model.save_pretrained(str(folder), safe_serialization=True)

    @torch.no_grad()
    def _validate(self, rows: _Posts) -> float:
        self.model.eval()
        found = [self._loss(*batch) for batch in self._batches(rows, torch.Generator())]
        return sum(loss.item() for loss, _ in found) / sum(weight for _, weight in found)

    def _rows(self, examples: Sequence[Example], weights: ClassWeights) -> _Posts:
        rows: _Posts = defaultdict(lambda: defaultdict(list))
        for example in examples:
            weighed = tuple(
                weights.get((example.shown, policy, target >= 0.5), 1.0) if labelled else 1.0  # noqa: PLR2004 - a probability's middle
                for policy, target, labelled in zip(example.policies, example.targets, example.is_labelled, strict=True)
            )
            prefix = self._prefix(example.request.questionnaire)
            row = _Row(self._scorer.row(prefix, example.request), example.targets, weighed)
            rows[example.request.questionnaire][example.post_id].append(row)
        return rows

    @torch.inference_mode()
    def _prefix(self, questionnaire: Questionnaire) -> Prefix:
        """For its tokens: its keys and values are of the model before it learned."""
        if questionnaire not in self._prefixes:
            self._prefixes[questionnaire] = self._scorer.prefix(questionnaire)
        return self._prefixes[questionnaire]

    def _batches(self, posts: _Posts, shuffle: torch.Generator) -> Iterator[tuple[Questionnaire, list[_Row]]]:
        """Of posts that share a questionnaire's prefix, with all passes of each; in another order each time."""
        batches = []
        for questionnaire, by_post in posts.items():
            own = list(by_post.values())
            order = torch.randperm(len(own), generator=shuffle).tolist()
            for start in range(0, len(own), POSTS_A_STEP):
                chosen = [row for at in order[start : start + POSTS_A_STEP] for row in own[at]]
                batches.append((questionnaire, chosen))
        yield from (batches[at] for at in torch.randperm(len(batches), generator=shuffle).tolist())

    def _loss(self, questionnaire: Questionnaire, rows: Sequence[_Row]) -> tuple[torch.Tensor, float]:
        """The sum of the batch's weighted losses, and the sum of the weights."""
        device = self._scorer.checkpoint.device
        log_yes, log_no = self.log_probabilities(self._prefix(questionnaire).ids, [row.tokens for row in rows])
        targets = torch.tensor([each for row in rows for each in row.targets], device=device)
        weights = torch.tensor([each for row in rows for each in row.weights], device=device)
        losses = -(targets * log_yes + (1 - targets) * log_no)
        return (weights * losses).sum(), float(weights.sum())

    def log_probabilities(self, prefix: Sequence[int], rows: Sequence[PostRow]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log p(yes) and log p(no) of all answers [A], with gradients."""
        scorer = self._scorer
        config, device = scorer.checkpoint.config, scorer.checkpoint.device
        body = scorer.checkpoint.model.model.language_model
        batch = pack(rows, len(prefix), config.image_token_id, scorer.tokenizer.pad, scorer.preprocessor.merge).to(
            device
        )
        cache: Cache = DynamicCache(config=config)
        body(
            inputs_embeds=body.embed_tokens(torch.tensor([list(prefix)], device=device)),
            position_ids=torch.arange(len(prefix), device=device).expand(3, 1, -1),
            past_key_values=cache,
            use_cache=True,
        )
        words = body.embed_tokens(batch.ids)  # [B, Q, hidden size]
        if images := [image for row in rows for image in row.post.images]:
            is_image = (batch.ids == config.image_token_id)[..., None]
            words = words.masked_scatter(is_image, self._image_features(images).to(words.dtype))
        hidden = body(
            inputs_embeds=words,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            past_key_values=Cache(layers=[KeptPrefixLayer(layer.keys, layer.values) for layer in cache.layers]),
            use_cache=True,
        ).last_hidden_state
        answers = hidden[batch.answer_rows, batch.answer_columns]  # [A, hidden size]
        logits = scorer.checkpoint.model.lm_head(answers).float()
        whole = logits.logsumexp(-1)
        yes, no = (logits[:, list(side)].logsumexp(-1) for side in (scorer.tokenizer.yes, scorer.tokenizer.no))
        return yes - whole, no - whole

    def _image_features(self, images: Sequence[StagedImage]) -> torch.Tensor:
        """The image tokens of all images in their order; each is encoded once, for good where the tower is fixed."""
        known = {} if self._settings.vision else self._features
        if new := {image.key: image for image in images if image.key not in known}:
            with torch.set_grad_enabled(self._settings.vision and torch.is_grad_enabled()):
                known.update(zip(new, self._encode(list(new.values())), strict=True))
        return torch.cat([known[image.key] for image in images])

    def _encode(self, images: Sequence[StagedImage]) -> Sequence[torch.Tensor]:
        tower, merge = self._scorer.checkpoint.model.model.visual, self._scorer.preprocessor.merge
        grids = torch.cat([image.grid for image in images])
        pixels = self._scorer.preprocessor.patches(images).to(tower.dtype)
        tokens: torch.Tensor = tower(pixels, grid_thw=grids).pooler_output
        return torch.split(tokens, (grids.prod(-1) // merge**2).tolist())


def linear_layers(model: nn.Module, *, vision: bool) -> list[str]:
    """The full names of the linear layers that learn: the language model's, and with `vision` the vision tower's."""
    parts = ("model.language_model.", "model.visual.") if vision else ("model.language_model.",)
    return [name for name, each in model.named_modules() if isinstance(each, nn.Linear) and name.startswith(parts)]


def class_weights(examples: Sequence[Example]) -> ClassWeights:
    """The root of what would make both answers count alike, up to a bound: all of it costs too many false alarms."""
    counts = Counter(
        (example.shown, policy, target >= 0.5)  # noqa: PLR2004 - as above
        for example in examples
        for policy, target, labelled in zip(example.policies, example.targets, example.is_labelled, strict=True)
        if labelled
    )
    return {
        (shown, policy, answer): min(
            math.sqrt((count + counts[shown, policy, not answer]) / (2 * count)), LARGEST_CLASS_WEIGHT
        )
        for (shown, policy, answer), count in list(counts.items())
    }
