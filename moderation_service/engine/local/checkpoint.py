"""Load a checkpoint of the GLM-4V family, or say in one line why it can't be loaded."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from moderation_service.engine.layouts import LAYOUTS
from moderation_service.engine.local import attention, packed_row  # noqa: F401 - which registers what layouts name
from moderation_service.engine.local.adapter import open_adapter
from moderation_service.engine.local.checkpoint_files import check_safetensors, digest_folder
from moderation_service.engine.local.fused_modules import optimize
from moderation_service.engine.local.memory_check import check_memory
from moderation_service.engine.local.quantization import check_quantization, quantize
from moderation_service.errors import Fatal, Misconfigured, ModerationError
from moderation_service.settings import EngineSettings

FAMILY = re.compile(r"glm\d+v(_moe)?")
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}

Loaded = TypeVar("Loaded")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model that is loaded and ready, with what turns words and images into its inputs."""

    model: PreTrainedModel
    tokenizer: Any
    image_processor: Any
    name: str
    revision: str
    device: torch.device
    dtype: torch.dtype

    @property
    def config(self) -> Any:  # noqa: ANN401 - a config class of its own for every member of the family
        """The model's configuration."""
        return self.model.config


def load_checkpoint(settings: EngineSettings, *, trainable: bool = False) -> Checkpoint:
    """Load what `engine.model` names, a folder or a name on the hub; a folder never asks the network.

    A `trainable` one has no quantized layer, and none that gradients can't pass.
    Raises Misconfigured for settings that can't be right and for a model that does not fit in memory, Fatal for a
    checkpoint that can't be used.
    """
    device = choose_device(settings.device)
    folder = _attempt(settings.model, lambda: _folder(settings.model))
    source: dict[str, Any] = {"trust_remote_code": False, "local_files_only": folder is not None}
    if folder is None and settings.revision:
        source["revision"] = settings.revision
    # A progress bar would break the lines of a JSON log.
    transformers_logging.disable_progress_bar()

    config = _attempt(settings.model, lambda: AutoConfig.from_pretrained(settings.model, **source))
    check_family(settings.model, config)
    processor = _attempt(settings.model, lambda: AutoProcessor.from_pretrained(settings.model, **source))
    dtype = _dtype(settings.dtype, device)
    check_quantization(settings.quantization, dtype, device)
    _attempt(settings.model, lambda: check_memory(settings, config, dtype, device))
    revision = _revision(settings, folder, config)
    adapter = open_adapter(settings.adapter, settings.model, revision) if settings.adapter else None
    model, report = _attempt(
        settings.model,
        lambda: AutoModelForImageTextToText.from_pretrained(
            settings.model,
            dtype=dtype,
            attn_implementation=LAYOUTS[settings.layout].attention,
            use_safetensors=True,
            output_loading_info=True,
            **source,
        ),
    )
    # transformers fills what is missing with random numbers, and goes on.
    lacking = sorted({str(key) for kind in ("missing_keys", "mismatched_keys") for key in report[kind]})
    if lacking:
        msg = f"engine.model {settings.model}: the weights lack {len(lacking)} tensors, for example {lacking[0]}"
        raise Fatal(msg)
    if adapter:  # before its layers are quantized
        model = _attempt(settings.model, lambda: adapter.merge_into(model))
        revision = f"{revision}+{adapter.digest}"
    if (kind := settings.quantization) and not trainable:
        _attempt(settings.model, lambda: quantize(model, kind, device))
    model = _attempt(settings.model, lambda: model.eval().requires_grad_(False).to(device))
    optimize(model, trainable=trainable)
    return Checkpoint(
        model=model,
        tokenizer=processor.tokenizer,
        image_processor=processor.image_processor,
        name=(folder or Path(settings.model)).name,
        revision=revision,
        device=device,
        dtype=dtype,
    )


def _revision(settings: EngineSettings, folder: Path | None, config: PreTrainedConfig) -> str:
    if folder is not None:  # what lies there can change under any name it is given
        return digest_folder(folder, settings.digests)
    # The commit says more than the branch that it was asked for by.
    return getattr(config, "_commit_hash", None) or settings.revision or "unknown"


def _folder(model: str) -> Path | None:
    """The folder that `model` is, or None for a name on the hub."""
    path = Path(model).expanduser()
    if path.is_dir():
        check_safetensors(model, path)
        return path.resolve()
    if path.exists() or model.startswith((".", "~", os.sep)) or model.count(os.sep) > 1 or "\\" in model:
        msg = f"engine.model {model}: no such folder; it should hold a checkpoint of the GLM-4V family"
        raise Fatal(msg)
    return None


def check_family(name: str, config: Any) -> None:  # noqa: ANN401 - any model's configuration
    """Raise Fatal for a model of another family."""
    text = getattr(config, "text_config", None)
    rope = getattr(text, "rope_parameters", None) or {}
    if (
        FAMILY.fullmatch(config.model_type)
        and getattr(config, "image_token_id", None) is not None
        and getattr(config, "vision_config", None) is not None
        and "mrope_section" in rope
    ):
        return
    msg = (
        f"engine.model {name}: {config.model_type} is not a model of the GLM-4V family"
        " (it needs an image_token_id, a vision_config and an mrope_section)"
    )
    raise Fatal(msg)


def choose_device(name: str) -> torch.device:
    """`auto`, the first GPU or else the CPU; or what torch calls a device.

    A GPU becomes the current one of this thread. Raises Misconfigured where the machine has no such device.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        if device.type == "cuda":
            device = torch.device("cuda", device.index or 0)
            _check_gpu(name, device.index)
            use_device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        # torch built without CUDA answers with an AssertionError.
        msg = f"engine.device {name}: this machine has no such device; auto, cpu and cuda are likely ones"
        raise Misconfigured(msg) from error
    return device


def use_device(device: torch.device) -> None:
    """Make a GPU the current one of this thread: what is given no device, as pinned memory is, then uses no other."""
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)  # `cuda` alone is the first one


def _check_gpu(name: str, index: int) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index < count:
        return
    last = f" to cuda:{count - 1}" if count > 1 else ""
    has = f"{count} that torch can use (cuda:0{last})" if count else "none that torch can use"
    msg = f"engine.device {name}: no such GPU, this process sees {has}; CUDA_VISIBLE_DEVICES may hide others"
    raise Misconfigured(msg)


def _dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype asked for; bfloat16 on a GPU and float32 elsewhere by default, never float16: the family overflows."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < attention.FLASH_CAPABILITY:
        log.warning("this GPU is older than Ampere: it emulates bfloat16 and has no fused attention, so it is slow")
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return DTYPES[name]


def _attempt(name: str, load: Callable[[], Loaded]) -> Loaded:
    """Do one step of the loading, and make of what it raises a Fatal of one line."""
    try:
        return load()
    except ModerationError:
        raise
    except Exception as error:
        # Whatever a library raises over a broken checkpoint, the process can't go on without the model.
        reason = next(iter(str(error).strip().splitlines()), "")
        if "trust_remote_code" in str(error):  # the libraries' advice, which can't be followed here
            msg = f"engine.model {name}: needs code of its own, which is never run; it should do without"
            raise Fatal(msg) from error
        msg = f"engine.model {name}: {type(error).__name__}: {reason}"
        raise Fatal(msg) from error
