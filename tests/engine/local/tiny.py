"""An untrained checkpoint of the GLM-4V family, small enough to be made in a second.

Its weights are large and random, so that scores differ between posts and policies: with the usual
small ones every answer would be the same, and a test that compares answers would prove nothing.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Glm4vForConditionalGeneration,
    Glm4vMoeForConditionalGeneration,
    Glm46VForConditionalGeneration,
    Glm46VImageProcessor,
    Glm46VProcessor,
    Glm46VVideoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from moderation_service.engine.prompts import Labels
from tests.engine.special_tokens import PARSED, SPECIAL

MEMBERS = {
    "glm4v": Glm4vForConditionalGeneration,
    "glm46v": Glm46VForConditionalGeneration,
    "glm4v_moe": Glm4vMoeForConditionalGeneration,
}

CORPUS = (
    "Lightly used, message me for the price. Meet me behind the school.",
    "Does the post offer a weapon for sale? Does the post promise a cure? Answer yes or no.",
    "Policy weapon_sale: the picture shows a weapon and the words offer it.",
    "九成新，私聊报价。该帖子是否出售武器？只回答“是”或“否”。",
    *[f"\n{word}" for word in (*Labels().yes, *Labels().no)] * 200,
)
TEMPLATE = """\
[gMASK]<sop>
{%- for message in messages -%}
<|{{ message.role }}|>
{% if message.role == 'assistant' and enable_thinking is defined and not enable_thinking %}<think></think>
{% endif %}
{% if message.content is string %}{{ message.content }}{% else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}<|begin_of_image|><|image|><|end_of_image|>{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- if message.role == 'user' and enable_thinking is defined and not enable_thinking -%}/nothink{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>
{% if enable_thinking is defined and not enable_thinking %}<think></think>
{% endif %}{%- endif -%}
"""


def make_tokenizer(
    *extra: str, corpus: Sequence[str] = CORPUS, template: str | None = TEMPLATE
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with the family's control tokens, and `extra` ones."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL),
        clean_up_tokenization_spaces=False,
        chat_template=template,
    )
    tokenizer.add_tokens([*PARSED, *extra])
    return tokenizer


def make_config(tokenizer: PreTrainedTokenizerFast, member: str = "glm4v") -> PreTrainedConfig:
    """A model of two layers each, in the shape of a member of the family."""
    ids = {
        name: tokenizer.convert_tokens_to_ids(token)
        for name, token in (
            ("image_token_id", "<|image|>"),
            ("video_token_id", "<|video|>"),
            ("image_start_token_id", "<|begin_of_image|>"),
            ("image_end_token_id", "<|end_of_image|>"),
            ("video_start_token_id", "<|begin_of_video|>"),
            ("video_end_token_id", "<|end_of_video|>"),
        )
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "partial_rotary_factor": 0.5,
            "mrope_section": [1, 1, 2],
        },
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "num_heads": 2,
        "image_size": 56,
        "patch_size": 14,
        "out_hidden_size": 64,
        "intermediate_size": 96,
        "rope_parameters": {"rope_type": "axial", "rope_theta": 1e4},
    }
    if member == "glm4v_moe":
        text |= {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    return MEMBERS[member].config_class(text_config=text, vision_config=vision, **ids)


def make_model(config: PreTrainedConfig) -> PreTrainedModel:
    """Random weights, large enough that every word and every patch moves every answer."""
    torch.manual_seed(0)
    model = MEMBERS[config.model_type](config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                # Wide queries and keys: attention that prefers some words to others.
                wide = 2.0 if "q_proj" in name or "k_proj" in name else 1.0
                weight.normal_(std=wide if "embed" in name else 2 * wide * weight[0].numel() ** -0.5)
    return model


def save_checkpoint(to: Path, tokenizer: PreTrainedTokenizerFast | None = None, member: str = "glm4v") -> Path:
    """Write the whole checkpoint: weights, config, tokenizer, processor, chat template."""
    tokenizer = tokenizer or make_tokenizer()
    size = {"shortest_edge": 2 * 28 * 28, "longest_edge": 2 * 84 * 84}
    processor = Glm46VProcessor(
        image_processor=Glm46VImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=Glm46VVideoProcessor(),
        chat_template=tokenizer.chat_template,
    )
    make_model(make_config(tokenizer, member)).save_pretrained(to)
    processor.save_pretrained(to)
    return to
