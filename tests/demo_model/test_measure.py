"""The bundled checkpoint keeps what its card promises, on a small fresh set."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from demo_model import measure
from demo_model.measure import Reader, labelled_figures
from moderation_service.demo.posts import posts
from moderation_service.settings import DEMO_MODEL, LayoutName


def test_the_folder_loads_as_the_real_models_do() -> None:
    config = AutoConfig.from_pretrained(DEMO_MODEL, local_files_only=True)
    assert (config.model_type, config.architectures) == ("glm4v", ["Glm4vForConditionalGeneration"])
    model = AutoModelForImageTextToText.from_pretrained(DEMO_MODEL, local_files_only=True)
    assert 2e6 < sum(weight.numel() for weight in model.parameters()) < 5e6
    assert (DEMO_MODEL / "model.safetensors").stat().st_size < 12e6
    processor = AutoProcessor.from_pretrained(DEMO_MODEL, local_files_only=True)
    asked: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "hello"}]}]
    text = processor.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    assert text.startswith("[gMASK]<sop><|user|>\n<|begin_of_image|>")


def test_the_card_says_what_it_is() -> None:
    card = (DEMO_MODEL / "README.md").read_text(encoding="utf-8")
    assert "no moderation model" in card
    figures = json.loads(Path(measure.__file__).with_name("figures.json").read_text(encoding="utf-8"))
    assert figures.keys() == {"post_first", "policies_first"}


@pytest.mark.parametrize("layout", ["post_first", "policies_first"])
@pytest.mark.parametrize("held_out", [False, True])
def test_combined_violations_are_found_on_fresh_posts(layout: LayoutName, *, held_out: bool) -> None:
    reader = Reader(DEMO_MODEL, layout)
    made = list(posts(400, 7_777, held_out=held_out))
    figures = labelled_figures(made, reader.read(made), reader.policies)
    assert figures["combined"]["f1"] >= 0.93
    assert figures["attribution_macro_f1"] >= 0.93
    assert figures["label_mass_low_share"] < 0.01
