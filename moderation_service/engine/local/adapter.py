"""LoRA adapter (Hu et al., 2021): a folder as PEFT writes it, checked against its base model and merged into it.

Merged weights score as fast as the model's own, and can be quantized like them. `moderation train` makes such a folder
with a card, which names the base model by its revision. An adapter made elsewhere has no card: then the name of the
base model in PEFT's own configuration counts.
"""

import json
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from transformers import PreTrainedModel

from moderation_service.engine.local.checkpoint_files import digest_files, is_safetensors
from moderation_service.errors import Misconfigured

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "card.json"


@dataclass(frozen=True, slots=True)
class Adapter:
    """A folder whose files are there and go with the model."""

    folder: Path
    digest: str

    def merge_into(self, model: PreTrainedModel) -> PreTrainedModel:
        """The model with the adapter added to its weights, in place. Raises Misconfigured where the two don't fit."""
        from peft import PeftConfig, set_peft_model_state_dict  # noqa: PLC0415 - comes with the extra `train`

        config = PeftConfig.from_pretrained(str(self.folder))
        config.init_lora_weights = False  # some ways to begin change the base; all of it is overwritten
        adapted = add_layers(model, config)
        found = set_peft_model_state_dict(adapted, load_file(self.folder / WEIGHTS))
        lacking = [name for name in found.missing_keys if "lora_" in name]
        if wrong := [*found.unexpected_keys, *lacking]:
            msg = (
                f"engine.adapter {self.folder}: {len(wrong)} of its tensors don't fit the model, for example {wrong[0]}"
            )
            raise Misconfigured(msg)
        merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
        return merged


def open_adapter(folder: Path, model: str, revision: str) -> Adapter:
    """The adapter in `folder` for the checkpoint `model` of this `revision`.

    Raises Misconfigured where it is none, holds no safetensors, is no LoRA, or was trained on another base model.
    """
    if find_spec("peft") is None:
        msg = "engine.adapter: peft is missing: install moderation-service[train]"
        raise Misconfigured(msg)
    if not (folder / CONFIG).is_file():
        msg = f"engine.adapter {folder}: should be a folder with {CONFIG} and {WEIGHTS}, as `moderation train` makes it"
        raise Misconfigured(msg)
    if not (folder / WEIGHTS).is_file() or not is_safetensors(folder / WEIGHTS):
        msg = f"engine.adapter {folder}: {WEIGHTS} is not a complete safetensors file"
        raise Misconfigured(msg)
    config = _read(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        msg = f"engine.adapter {folder}: {CONFIG}: peft_type {config.get('peft_type')}; should be LORA"
        raise Misconfigured(msg)
    if (folder / CARD).is_file():
        base = _read(folder / CARD).get("base")
        trained_on, this = (base.get("revision") if isinstance(base, dict) else None), revision
    else:
        trained_on, this = (Path(str(each)).name for each in (config.get("base_model_name_or_path"), model))
    if trained_on != this:
        msg = f"engine.adapter {folder}: was trained on {trained_on}, and engine.model is {this}; train one on this"
        raise Misconfigured(msg)
    return Adapter(folder, adapter_digest(folder))


def adapter_digest(folder: Path) -> str:
    """The digest of what can change a score."""
    return digest_files((folder / CONFIG, folder / WEIGHTS))


def add_layers(model: PreTrainedModel, config: Any) -> Any:  # noqa: ANN401 - PEFT's, which may not be installed
    """The model with an adapter's layers put into it."""
    from peft import get_peft_model  # noqa: PLC0415 - as above

    with warnings.catch_warnings():
        # PEFT 0.21 asks for `is_gradient_checkpointing`, which transformers 5.23 deprecates.
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, config)


def _read(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_bytes())
    except ValueError as error:
        msg = f"engine.adapter {path.parent}: {path.name} is no JSON"
        raise Misconfigured(msg) from error
    if not isinstance(read, dict):
        msg = f"engine.adapter {path.parent}: {path.name} should be an object"
        raise Misconfigured(msg)
    return read
