"""What the vision tower makes of images: once an image, however often and in however many views it is asked for."""

from collections.abc import Sequence
from contextlib import suppress

import torch
from cachetools import LRUCache
from transformers import PreTrainedModel

from moderation_service.engine.local.image_preprocessor import ImagePreprocessor, Key, StagedImage

KEPT_BYTES = 256 * 1024 * 1024
"""Features of 60 images of 640 × 640 of the family's 9B in bfloat16, of 12,000 of the bundled model."""


class VisionEncoder:
    """The tower behind a memory of its features, those used last. For the thread of the model."""

    def __init__(self, model: PreTrainedModel, preprocessor: ImagePreprocessor, kept_bytes: int = KEPT_BYTES) -> None:
        """`kept_bytes` lie on the model's device."""
        self._model, self._preprocessor = model, preprocessor
        self._features: LRUCache[Key, torch.Tensor] = LRUCache(kept_bytes, getsizeof=lambda tokens: tokens.nbytes)

    def features(self, images: Sequence[StagedImage]) -> torch.Tensor:
        """The image tokens of all images, in their order [tokens, hidden size]; `images` is not empty."""
        keys = [image.key for image in images]
        found = {key: self._features[key] for key in keys if key in self._features}
        unseen = {key: image for key, image in zip(keys, images, strict=True) if key not in found}
        if unseen:
            # Of one storage each: a view would hold the features of all images of its call.
            looked = [tokens.clone() for tokens in self._encode(list(unseen.values()))]
            for key, tokens in zip(unseen, looked, strict=True):
                found[key] = tokens
                with suppress(ValueError):  # larger than the whole cache
                    self._features[key] = tokens
        return torch.cat([found[key] for key in keys])

    def forget(self) -> None:
        """Drop all that is kept."""
        self._features.clear()

    def _encode(self, images: Sequence[StagedImage]) -> Sequence[torch.Tensor]:
        """One pass of the tower: each image's tokens [t, hidden size]. The host has the grids: no wait."""
        tower = self._model.model.visual
        grids = torch.cat([image.grid for image in images])
        pixels = self._preprocessor.patches(images).to(tower.dtype)
        tokens: torch.Tensor = tower(pixels, grid_thw=grids).pooler_output
        return torch.split(tokens, (grids.prod(-1) // self._preprocessor.merge**2).tolist())
