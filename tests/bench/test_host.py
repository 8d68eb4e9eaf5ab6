"""`moderation bench host` compares like with like. No figure is held to a bound here."""

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from moderation_service.bench.host import SIZES, _jpeg
from tests.line.service import moderation


@pytest.mark.timeout(300)
async def test_host_cuts_the_same_patches_as_the_processor_at_every_size() -> None:
    code, out, err = await moderation("bench", "host", "--images", "3", "--repeats", "1")
    assert code == 0, err
    printed = json.loads(out)
    assert {"machine", "versions", "command", "seed", "ratio", "ms_per_image", "vision_ms", "post_ms"} <= printed.keys()
    assert printed["ratio"].keys() == {"hf_processor", "hf_processor_floats"}
    assert printed["sizes"].keys() == SIZES.keys()
    assert printed["post_ms"].keys() == {"beside_the_model", "on_its_thread"}
    for size in printed["sizes"].values():
        assert size["max_levels_apart"] <= 1.01
        assert size["ms_per_image"] > 0


def test_the_images_are_the_same_for_a_seed_and_differ_among_each_other() -> None:
    files = [_jpeg(number, np.random.default_rng([1, number])) for number in range(3)]
    assert files == [_jpeg(number, np.random.default_rng([1, number])) for number in range(3)]
    assert len(set(files)) == 3
    assert all(Image.open(BytesIO(data)).size == (1024, 1024) for data in files)
