"""Pixels to patches, as the checkpoint's own image processor makes them, and patches to features by the vision tower.

An image crosses to the device as bytes, an eighth of the floats that the processor would send: each pixel is
one byte a channel, and the two frames the family's vision tower sees of a still are made there.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from cachetools import LRUCache
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms
from transformers import PreTrainedModel
from transformers.models.glm46v.image_processing_glm46v import smart_resize

from moderation_service.contracts.engine_input import Pixels
from moderation_service.engine.base import pad_narrow
from moderation_service.errors import Fatal

CACHE_BYTES = 256 * 1024 * 1024
"""Features of 60 images of 640 × 640 of the family's 9B in bfloat16, of 12,000 of the bundled model."""

CHANNELS = 3
MAX_DEVIATION = 4
"""Of 255 levels. A pixel further from the processor's was made in another way; rounding is worth a level or two."""

Key = tuple[bytes, tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class StagedImage:
    """One image's pixels, uint8 [height, width, 3] on the CPU, and the grid [1, 3] of t, h, w that it is cut to."""

    pixels: torch.Tensor
    grid: torch.Tensor

    @cached_property
    def key(self) -> Key:
        """By content, and one that can't be forged: whoever could would have an image judged as another."""
        digest = sha256(self.pixels.numpy().data).digest()
        return digest, tuple(self.pixels.shape), tuple(self.grid[0].tolist())


class ImagePreprocessor:
    """Sizes and cuts images; `merge` patches a side make a token, `token_side` is that token's side in pixels."""

    def __init__(self, processor: Any, device: torch.device) -> None:  # noqa: ANN401 - transformers leaves it untyped
        """Read the checkpoint's processor, and see that it makes the same. Raises Fatal where it does not."""
        self._device = device
        try:
            self._patch, self._frames = int(processor.patch_size), int(processor.temporal_patch_size)
            self.merge = int(processor.merge_size)
            self._least, self._most = (int(processor.size[edge]) for edge in ("shortest_edge", "longest_edge"))
            levels = 1 / processor.rescale_factor
            self._mean = torch.tensor(processor.image_mean, device=device)[:, None, None] * levels
            self._deviation = torch.tensor(processor.image_std, device=device)[:, None, None] * levels
            self._compare(processor)
        except (AttributeError, KeyError, TypeError, ArithmeticError, ValueError, RuntimeError) as error:
            msg = (
                f"the model's image processor, {type(processor).__name__}, does not cut images as the GLM-4V family's"
                " do; use the processor files that the family's checkpoints come with"
            )
            raise Fatal(msg) from error

    @property
    def max_pixels(self) -> int:
        """Of an image that is larger, no more pixels are cut."""
        return self._most // self._frames

    @property
    def token_side(self) -> int:
        """The side of one token's pixels."""
        return self._patch * self.merge

    def stage(self, pixels: Pixels) -> StagedImage:
        """An image [H, W, 3] ready to be cut; its pixels are copied, to where a GPU can fetch them by itself."""
        wide = pad_narrow(pixels)
        staged = torch.empty(wide.shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        staged.numpy()[:] = wide
        height, width = wide.shape[:2]
        size = smart_resize(
            self._frames, height, width, self._frames, self.token_side, min_pixels=self._least, max_pixels=self._most
        )
        down, across = (side // self._patch for side in size)
        return StagedImage(staged, torch.tensor([[1, down, across]]))

    def pixels_read(self, image: StagedImage) -> int:
        """Of the image; those that enlarging it adds tell nothing."""
        return min(int(image.grid.prod()) * self._patch**2, image.pixels.shape[0] * image.pixels.shape[1])

    def patchify(self, image: StagedImage) -> torch.Tensor:
        """The image's patches as bytes on the device [t·h·w, patch, patch, 3], in the order of the vision tower."""
        down, across = image.grid[0, 1:].tolist()
        pixels = image.pixels.to(self._device, non_blocking=True).permute(2, 0, 1)  # [3, H, W], channels still last
        # Width, then height, bytes in between, as CPUs do it: at once, a GPU would be 25 levels off at a sharp edge.
        for size in ([pixels.shape[1], across * self._patch], [down * self._patch, across * self._patch]):
            pixels = transforms.resize(pixels, size, InterpolationMode.BICUBIC, antialias=True)
        blocks = (down // self.merge, self.merge, self._patch, across // self.merge, self.merge, self._patch * CHANNELS)
        cut = pixels.permute(1, 2, 0).reshape(blocks).permute(0, 3, 1, 4, 2, 5)
        return cut.reshape(-1, self._patch, self._patch, CHANNELS)

    def normalize(self, cut: torch.Tensor) -> torch.Tensor:
        """What the vision tower takes [t·h·w, 3 · t · patch²], float32, of the bytes of any number of images."""
        planes = cut.permute(0, 3, 1, 2).contiguous()  # while they are bytes, this costs least
        levels = planes.float().sub_(self._mean).div_(self._deviation)
        return levels[:, :, None].expand(-1, -1, self._frames, -1, -1).reshape(len(cut), -1)

    def inputs(self, images: Sequence[StagedImage]) -> dict[str, torch.Tensor]:
        """The model's own arguments for images; none for none."""
        if not images:
            return {}
        return {
            "pixel_values": self.patches(images),
            "image_grid_thw": torch.cat([image.grid for image in images]).to(self._device),
        }

    def patches(self, images: Sequence[StagedImage]) -> torch.Tensor:
        """What the vision tower takes of all images, in their order; `images` is not empty."""
        return self.normalize(torch.cat([self.patchify(image) for image in images]))

    def _compare(self, processor: Any) -> None:  # noqa: ANN401 - as above
        """Cut an image that needs all of the processor's steps. Raises ValueError where it does so otherwise."""
        pixels = np.random.default_rng(0).integers(0, 256, (45, 61, CHANNELS), dtype=np.uint8)
        # Channels are named: an image three pixels high would be taken for one that has them first.
        wanted = processor(images=[pixels], input_data_format="channels_last", return_tensors="pt")
        ours = self.inputs([self.stage(pixels)])
        away = (ours["pixel_values"].cpu() - wanted["pixel_values"]).abs()  # of another grid: RuntimeError
        levels = away.view(len(away), CHANNELS, -1).amax((0, 2)) * self._deviation.flatten().cpu()
        if ours["image_grid_thw"].tolist() != wanted["image_grid_thw"].tolist() or not bool(
            (levels <= MAX_DEVIATION).all()
        ):
            msg = f"{levels.tolist()} of 255 levels apart"
            raise ValueError(msg)


class VisionEncoder:
    """The vision tower behind an LRU cache of its features, by content. For the thread of the model."""

    def __init__(self, model: PreTrainedModel, preprocessor: ImagePreprocessor, kept_bytes: int = CACHE_BYTES) -> None:
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

    def clear(self) -> None:
        """Drop all that is kept."""
        self._features.clear()

    def _encode(self, images: Sequence[StagedImage]) -> Sequence[torch.Tensor]:
        """One pass of the tower: each image's tokens [t, hidden size]. The host has the grids: no wait."""
        tower = self._model.model.visual
        grids = torch.cat([image.grid for image in images])
        pixels = self._preprocessor.patches(images).to(tower.dtype)
        tokens: torch.Tensor = tower(pixels, grid_thw=grids).pooler_output
        return torch.split(tokens, (grids.prod(-1) // self._preprocessor.merge**2).tolist())
