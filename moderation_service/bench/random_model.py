"""A model of a stated shape with random weights, and posts and policies of stated lengths."""

import random
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from moderation_service.bench.generated_posts import text
from moderation_service.contracts.engine_input import Question, Questionnaire
from moderation_service.engine.base import ScoreRequest
from moderation_service.engine.local.checkpoint import Checkpoint
from moderation_service.engine.local.fused_modules import optimize, swap_patch_embedding
from moderation_service.engine.local.scorer import Scorer
from moderation_service.engine.prompts import PACKED_ATTENTION
from moderation_service.settings import DEMO_MODEL, LayoutName

WORDS = 200
"""Characters of a post."""

CONTEXT = 16384


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a model of the GLM-4V family, and of the images that it is shown."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    key_heads: int
    vocabulary: int
    vision_hidden: int
    vision_layers: int
    vision_heads: int
    side: int  # pixels of an image

    @property
    def sections(self) -> list[int]:
        """Of half a head's size, in the family's ratio of 8 to 12 to 12."""
        half = self.hidden // self.heads // 4
        return [half // 4, (half - half // 4) // 2, half - half // 4 - (half - half // 4) // 2]


SMALL = Shape(384, 8, 1536, 3, 1, 2560, 192, 6, 3, 448)
TINY = Shape(64, 2, 96, 2, 1, 2048, 32, 2, 2, 112)
NINE_B = Shape(4096, 40, 13696, 32, 2, 151_552, 1536, 24, 12, 644)
"""GLM-4.6V-Flash's, with its images at 640² as its processor rounds them."""

SHAPES = {"small": SMALL, "tiny": TINY, "9b": NINE_B}
DTYPES = {"cpu": torch.float32, "cuda": torch.bfloat16}


def make_checkpoint(
    shape: Shape, device: str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 1, *, fused: bool = True
) -> Checkpoint:
    """Random weights, of which answers differ and hang on no rounding; the bundled model's tokenizer and processor.

    `fused` puts the engine's faster modules in place; else the model's own stay, but for the patch embedding.
    """
    config = AutoConfig.from_pretrained(DEMO_MODEL, local_files_only=True)
    config.text_config.update(
        {
            "hidden_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "intermediate_size": shape.intermediate,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.key_heads,
            "head_dim": shape.hidden // shape.heads,
            "vocab_size": shape.vocabulary,
            "max_position_embeddings": CONTEXT,
        }
    )
    config.text_config.rope_parameters["mrope_section"] = shape.sections
    config.vision_config.update(
        {
            "hidden_size": shape.vision_hidden,
            "depth": shape.vision_layers,
            "num_heads": shape.vision_heads,
            "out_hidden_size": shape.hidden,
            "intermediate_size": shape.intermediate,
        }
    )
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation=PACKED_ATTENTION)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(std=_spread(name, weight))
    improve = optimize if fused else swap_patch_embedding
    improve(model.eval().requires_grad_(False))
    processor = make_processor(shape.side)
    return Checkpoint(
        model=model,
        tokenizer=processor.tokenizer,
        image_processor=processor.image_processor,
        name="random",
        revision=f"seed {seed}",
        device=model.device,  # with its index
        dtype=dtype,
    )


def _spread(name: str, weight: torch.Tensor) -> float:
    """Small words, which the layers then outweigh; queries, keys and head wide enough to tell one from another."""
    if "embed" in name and "patch" not in name:
        return 0.1
    wide = 1.5 if "q_proj" in name or "k_proj" in name else 2.0 if "lm_head" in name else 1.0
    return float(wide * weight[0].numel() ** -0.5)


def make_processor(side: int) -> Any:  # noqa: ANN401 - transformers' own
    """The bundled model's, for images of `side` squared."""
    processor = AutoProcessor.from_pretrained(DEMO_MODEL, local_files_only=True)
    processor.image_processor.size = {"shortest_edge": 2 * 28 * 28, "longest_edge": 2 * side**2}
    return processor


def make_scorer(checkpoint: Checkpoint, layout: LayoutName, max_batch_tokens: int = 2**20) -> Scorer:
    """By default a batch holds whatever it is given."""
    limit = checkpoint.config.text_config.max_position_embeddings
    return Scorer(checkpoint, layout, "brief", max_context_tokens=limit, max_batch_tokens=max_batch_tokens)


def make_questionnaire(scorer: Scorer, policies: int, tokens: int, rng: random.Random) -> Questionnaire:
    """`policies` questions of `tokens` tokens each, a few more at most."""

    def question() -> str:
        words = text(rng, 8 * tokens).split()[:-1]  # the last may be cut
        ends = accumulate(len(scorer.tokenizer.encode_trusted(f" {word}")) for word in words)
        return " ".join(words[: 1 + next(at for at, end in enumerate(ends) if end >= tokens)])

    # Ids of several tokens each: all that policies first tells two policies apart by, behind the post.
    names = ["_".join([*text(rng, 30).split()[:2], str(number)]) for number in range(policies)]
    return Questionnaire("en", tuple(Question(name, question(), "") for name in names))


def make_requests(questionnaire: Questionnaire, posts: int, side: int, seed: int) -> list[ScoreRequest]:
    """Posts of words and an image of noise, all policies asked of each."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, no secret
    noise = np.random.default_rng(seed)
    asked = tuple(range(len(questionnaire.questions)))
    return [
        ScoreRequest(text(rng, WORDS), (noise.integers(0, 256, (side, side, 3), np.uint8),), questionnaire, asked)
        for _ in range(posts)
    ]


def describe(shape: Shape, model: PreTrainedModel) -> dict[str, int]:
    """The shape, with the parameters that come of it."""
    return {**asdict(shape), "parameters": sum(weight.numel() for weight in model.parameters())}
