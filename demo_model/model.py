"""The demonstration model's shape: GLM-4.6V's architecture at three million parameters."""

import torch
from transformers import Glm4vConfig, Glm4vForConditionalGeneration

VOCABULARY = 2048

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
    "<|video|>",
)
"""The family's own, in this order from id 0 on."""


def token_id(token: str) -> int:
    """The id of a special token."""
    return SPECIAL_TOKENS.index(token)


def configuration() -> Glm4vConfig:
    """Sizes that a few cores can train in about two hours."""
    return Glm4vConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 192,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "max_position_embeddings": 1024,
            # The architecture always has these biases; vLLM drops them where this is not said.
            "attention_bias": True,
            "rms_norm_eps": 1e-5,
            "initializer_range": 0.05,
            # The sections cover half of the rotated half of a head: 32 × 0.5 / 2.
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "partial_rotary_factor": 0.5,
                "mrope_section": [2, 3, 3],
            },
            "pad_token_id": token_id("<|endoftext|>"),
            "eos_token_id": [token_id("<|endoftext|>"), token_id("<|user|>"), token_id("<|observation|>")],
        },
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "num_heads": 4,
            "image_size": 112,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 192,
            "intermediate_size": 384,
            "initializer_range": 0.05,
            "rope_parameters": {"rope_type": "axial", "rope_theta": 1e4},
        },
        image_token_id=token_id("<|image|>"),
        video_token_id=token_id("<|video|>"),
        image_start_token_id=token_id("<|begin_of_image|>"),
        image_end_token_id=token_id("<|end_of_image|>"),
        video_start_token_id=token_id("<|begin_of_video|>"),
        video_end_token_id=token_id("<|end_of_video|>"),
        tie_word_embeddings=False,
    )


def new_model(seed: int) -> Glm4vForConditionalGeneration:
    """A model with random weights."""
    torch.manual_seed(seed)
    model = Glm4vForConditionalGeneration._from_config(configuration(), attn_implementation="sdpa")  # noqa: SLF001
    return model.float().train()
