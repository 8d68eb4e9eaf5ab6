"""Adapters: merged when the model loads, and only into the model that they were trained on."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel

from moderation_service.contracts.engine_input import Language, Questionnaire
from moderation_service.engine.base import ScoreRequest
from moderation_service.engine.local.adapter import CARD, CONFIG, WEIGHTS, add_layers
from moderation_service.engine.local.checkpoint import Checkpoint, load_checkpoint
from moderation_service.engine.local.scorer import Scorer
from moderation_service.errors import Misconfigured
from moderation_service.settings import EngineSettings


def load(model: Path, adapter: Path | None = None, **settings: object) -> Checkpoint:
    chosen = {"model": str(model), "device": "cpu", "dtype": "float32", "adapter": adapter, **settings}
    return load_checkpoint(EngineSettings.model_validate(chosen))


def scores(checkpoint: Checkpoint, questionnaire: Questionnaire) -> list[float]:
    scorer = Scorer(checkpoint, "post_first", "brief", max_context_tokens=1024, max_batch_tokens=16384)
    asked = tuple(range(len(questionnaire.questions)))
    requests = [ScoreRequest(text, (), questionnaire, asked) for text in ("Lightly used, DM me", "Good morning")]
    return [label.score for result in scorer.score(requests) for label in result.labels]


@pytest.fixture(scope="module")
def adapter(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of random numbers, as PEFT writes it, with the card that `moderation train` adds."""
    checkpoint = load(tiny_checkpoint)
    torch.manual_seed(1)
    config = LoraConfig(
        r=4, target_modules=r"model\.language_model\..*_proj", init_lora_weights=False, task_type="CAUSAL_LM"
    )
    folder = tmp_path_factory.mktemp("adapters") / "one"
    add_layers(checkpoint.model, config).save_pretrained(folder)
    (folder / CARD).write_text(json.dumps({"base": {"revision": checkpoint.revision}}))
    return folder


@pytest.fixture
def changed(adapter: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapter, tmp_path / "changed"))


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks for it
def test_a_merged_adapter_scores_as_peft_does_with_it(
    tiny_checkpoint: Path, adapter: Path, questionnaires: dict[Language, Questionnaire]
) -> None:
    base, merged = load(tiny_checkpoint), load(tiny_checkpoint, adapter)
    before, after = scores(base, questionnaires["en"]), scores(merged, questionnaires["en"])
    assert max(abs(one - other) for one, other in zip(before, after, strict=True)) > 0.01
    PeftModel.from_pretrained(base.model, adapter)  # puts its layers into the model
    assert scores(base, questionnaires["en"]) == pytest.approx(after, abs=1e-5)


def test_the_models_revision_names_the_adapter(tiny_checkpoint: Path, adapter: Path, changed: Path) -> None:
    base, one = load(tiny_checkpoint).revision, load(tiny_checkpoint, adapter).revision
    assert one.startswith(f"{base}+sha256:")
    config = json.loads((changed / CONFIG).read_text())
    (changed / CONFIG).write_text(json.dumps({**config, "lora_alpha": 2 * config["lora_alpha"]}))
    assert load(tiny_checkpoint, changed).revision != one


@pytest.mark.parametrize("kind", ["int8", "int8_dynamic"])
def test_quantized_weights_hold_the_adapter(
    kind: str, tiny_checkpoint: Path, adapter: Path, questionnaires: dict[Language, Questionnaire]
) -> None:
    whole = scores(load(tiny_checkpoint, adapter), questionnaires["en"])
    small = scores(load(tiny_checkpoint, adapter, quantization=kind), questionnaires["en"])
    base = scores(load(tiny_checkpoint), questionnaires["en"])
    away = [sum(abs(a - b) for a, b in zip(small, other, strict=True)) for other in (whole, base)]
    assert away[0] < away[1] / 2


def test_an_adapter_of_another_base_model_is_refused(tiny_checkpoint: Path, changed: Path) -> None:
    (changed / CARD).write_text(json.dumps({"base": {"revision": "sha256:other"}}))
    with pytest.raises(Misconfigured, match=r"was trained on sha256:other, and engine.model is sha256:"):
        load(tiny_checkpoint, changed)


def test_without_a_card_the_name_in_pefts_configuration_counts(tiny_checkpoint: Path, changed: Path) -> None:
    (changed / CARD).unlink()
    load(tiny_checkpoint, changed)
    config = json.loads((changed / CONFIG).read_text())
    (changed / CONFIG).write_text(json.dumps({**config, "base_model_name_or_path": "zai-org/GLM-4.6V-Flash"}))
    with pytest.raises(Misconfigured, match=r"was trained on GLM-4.6V-Flash, and engine.model is tiny"):
        load(tiny_checkpoint, changed)


def test_an_adapter_whose_tensors_do_not_fit_is_refused(tiny_checkpoint: Path, changed: Path) -> None:
    config = json.loads((changed / CONFIG).read_text())
    (changed / CONFIG).write_text(json.dumps({**config, "target_modules": r"model\.language_model\..*q_proj"}))
    with pytest.raises(Misconfigured, match=r"of its tensors don't fit the model, for example base_model"):
        load(tiny_checkpoint, changed)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (WEIGHTS, b"\x80\x04pickle", "adapter_model.safetensors is not a complete safetensors file"),
        (CONFIG, b"[]", "adapter_config.json should be an object"),
        (CONFIG, b"{", "adapter_config.json is no JSON"),
        (CONFIG, b'{"peft_type": "IA3"}', "peft_type IA3; should be LORA"),
    ],
)
def test_a_broken_adapter_is_refused_in_one_line(
    name: str, content: bytes, says: str, tiny_checkpoint: Path, changed: Path
) -> None:
    (changed / name).write_bytes(content)
    with pytest.raises(Misconfigured, match=r"^engine.adapter [^\n]*$") as refused:
        load(tiny_checkpoint, changed)
    assert says in str(refused.value)


def test_a_folder_with_weights_as_a_pickle_alone_is_no_adapter(tiny_checkpoint: Path, changed: Path) -> None:
    (changed / WEIGHTS).rename(changed / "adapter_model.bin")
    with pytest.raises(Misconfigured, match="is not a complete safetensors file"):
        load(tiny_checkpoint, changed)


def test_what_is_no_folder_of_an_adapter_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=f"engine.adapter {tmp_path}: should be a folder with adapter_config.json"):
        load(tiny_checkpoint, tmp_path)


def test_a_server_loads_its_adapters_itself(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="let the server load it"):
        EngineSettings(kind="openai", base_url="http://vllm:8000/v1", adapter=tmp_path)
