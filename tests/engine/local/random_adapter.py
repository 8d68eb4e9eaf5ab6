"""An adapter of random numbers, as PEFT writes it, with the card that `moderation train` adds."""

import json
from pathlib import Path

import torch
from peft import LoraConfig

from moderation_service.engine.local.adapter import CARD, add_layers
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.settings import EngineSettings


def random_adapter(folder: Path, alpha: int = 8) -> Path:
    """One for the bundled model; the larger `alpha`, the further its answers are off."""
    checkpoint = load_checkpoint(EngineSettings(device="cpu", dtype="float32"))
    torch.manual_seed(1)
    config = LoraConfig(
        r=4,
        lora_alpha=alpha,
        target_modules=r"model\.language_model\..*_proj",
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    add_layers(checkpoint.model, config).save_pretrained(folder)
    (folder / CARD).write_text(json.dumps({"base": {"revision": checkpoint.revision}}))
    return folder
