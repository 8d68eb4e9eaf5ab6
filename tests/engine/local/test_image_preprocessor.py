"""Patches cut here are those of the family's own processor, whatever the image."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import _geometry as geometry
from transformers import Glm4vImageProcessor, Glm46VImageProcessor

from moderation_service.engine.base import Pixels
from moderation_service.engine.local.image_encoder import ImagePreprocessor
from moderation_service.errors import Fatal
from moderation_service.media.decode import decode
from moderation_service.settings import MediaSettings

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
BUDGETS = {  # pixels of two frames: least, most
    "the 9B's": (12_544, 9_633_792),
    "640 squared": (12_544, 2 * 644 * 644),
    "the bundled model's": (25_088, 31_360),
}
SHAPES = [
    (1, 1), (3, 3), (13, 15), (27, 29), (28, 28), (2, 30), (45, 61), (300, 200), (333, 1024), (1024, 333), (767, 1023),
    (1024, 1024), (7, 1024), (1024, 7), (150, 1), (1, 149),
]  # fmt: skip
LEVEL = 1 / 255 + 1e-6

Draw = Callable[[int, int], Pixels]


def processor(budget: str, kind: type = Glm46VImageProcessor, **options: object) -> Glm46VImageProcessor:
    least, most = BUDGETS[budget]
    return kind(size={"shortest_edge": least, "longest_edge": most}, **options)


def furthest(theirs: Glm46VImageProcessor, pixels: Pixels, device: str = "cpu") -> float:
    """How far the two are apart at most, in pixel space, where white is 1."""
    preprocessor = ImagePreprocessor(theirs, torch.device(device))
    ours = preprocessor.inputs([preprocessor.stage(pixels)])
    wanted = theirs(images=[np.array(pixels)], input_data_format="channels_last", return_tensors="pt")
    assert ours["image_grid_thw"].tolist() == wanted["image_grid_thw"].tolist()
    deviation = torch.tensor(theirs.image_std).repeat_interleave(2 * 14 * 14)
    return float(((ours["pixel_values"].cpu() - wanted["pixel_values"]) * deviation).abs().max())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_patches_are_the_processor_s_within_one_level(
    make_image: Draw, shape: tuple[int, int], budget: str, device: str
) -> None:
    assert furthest(processor(budget), make_image(*shape), device) <= LEVEL


def test_the_family_s_other_processor_cuts_the_same(make_image: Draw) -> None:
    assert furthest(processor("640 squared", Glm4vImageProcessor), make_image(231, 500)) <= LEVEL


def test_a_device_that_resizes_in_floats_differs_by_its_rounding_alone(
    make_image: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = processor("640 squared")
    preprocessor = ImagePreprocessor(theirs, torch.device("cpu"))
    staged = [preprocessor.stage(make_image(*shape)) for shape in SHAPES]
    in_bytes = [preprocessor.patchify(one) for one in staged]
    monkeypatch.setattr(geometry, "_do_native_uint8_resize_on_cpu", lambda _: False)  # as on a GPU
    in_floats = [preprocessor.patchify(one) for one in staged]
    away = torch.cat(
        [(one.int() - other.int()).abs().flatten() for one, other in zip(in_bytes, in_floats, strict=True)]
    )
    assert away.max() in (1, 2)
    assert (away > 1).float().mean() < 1e-4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_images_of_every_mode_are_cut_as_the_processor_cuts_them(make_image: Draw, mode: str) -> None:
    drawn = Image.fromarray(make_image(75, 133))
    drawn = Image.fromarray(np.asarray(drawn.convert("L"), np.uint16) * 257) if mode == "I;16" else drawn.convert(mode)
    file = BytesIO()
    drawn.save(file, "JPEG" if mode in ("CMYK", "YCbCr") else "TIFF" if mode == "PA" else "PNG")
    image = decode(file.getvalue(), MediaSettings())
    if mode == "PA":
        assert image.status == "unsupported"
        return
    (frame,) = image.frames
    assert furthest(processor("640 squared"), frame) <= LEVEL


def test_images_cut_together_are_those_cut_apart(make_image: Draw) -> None:
    preprocessor = ImagePreprocessor(processor("640 squared"), torch.device("cpu"))
    staged = [preprocessor.stage(make_image(*shape)) for shape in ((60, 90), (300, 200), (1, 1))]
    together = preprocessor.inputs(staged)
    apart = [preprocessor.inputs([one]) for one in staged]
    for name, tensor in together.items():
        assert torch.equal(tensor, torch.cat([one[name] for one in apart]))
    assert preprocessor.inputs([]) == {}


def test_an_image_crosses_to_the_device_as_bytes(make_image: Draw) -> None:
    preprocessor = ImagePreprocessor(processor("640 squared"), torch.device("cpu"))
    staged = preprocessor.stage(make_image(300, 200))
    assert (staged.pixels.dtype, staged.pixels.shape) == (torch.uint8, (300, 200, 3))
    cut = preprocessor.patchify(staged)
    assert (cut.dtype, cut.shape) == (torch.uint8, (22 * 14, 14, 14, 3))


@pytest.mark.parametrize(
    "options",
    [
        {"do_resize": False},
        {"resample": Image.Resampling.NEAREST},
        {"do_normalize": False},
        {"merge_size": 3, "patch_size": 0},
        {"size": {"shortest_edge": 12_544, "longest_edge": None}},
    ],
)
def test_a_processor_that_cuts_otherwise_is_refused_in_one_line(options: dict[str, object]) -> None:
    theirs = Glm46VImageProcessor()
    for name, value in options.items():
        setattr(theirs, name, value)
    with pytest.raises(Fatal, match=r"image processor, Glm46VImageProcessor, does not cut images as .* do") as caught:
        ImagePreprocessor(theirs, torch.device("cpu"))
    assert "\n" not in str(caught.value)
