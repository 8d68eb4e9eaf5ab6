"""A checkpoint runs no code and reads nothing from elsewhere, whatever its folder holds; each refusal is one line."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.engine.local.post_tokenizer import SafeTokenizer
from moderation_service.errors import Fatal
from moderation_service.settings import EngineSettings
from tests.engine.local.tiny import make_tokenizer

TENSORS = "model.safetensors"


class Touching:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.path),)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def split(folder: Path, second: str) -> None:
    """Two files of weights with an index; the second is pickled if it is no safetensors."""
    weights = load_file(folder / TENSORS)
    names = sorted(weights)
    parts = {"first.safetensors": names[::2], second: names[1::2]}
    (folder / TENSORS).unlink()
    for name, chosen in parts.items():
        part = {key: weights[key] for key in chosen}
        (torch.save if name.endswith(".bin") else save_file)(part, folder / name)
    index = {"metadata": {}, "weight_map": {key: name for name, chosen in parts.items() for key in chosen}}
    (folder / f"{TENSORS}.index.json").write_text(json.dumps(index))


def pickled(folder: Path) -> None:
    (folder / TENSORS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Touching(folder / "touched")))


def pickled_under_another_name(folder: Path) -> None:
    (folder / TENSORS).write_bytes(pickle.dumps(Touching(folder / "touched")))


def saved_by_torch_under_another_name(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / TENSORS)


def half_pickled(folder: Path) -> None:
    split(folder, "second.bin")


def from_elsewhere(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    split(folder, "../elsewhere/second.safetensors")


def cut(folder: Path) -> None:
    (folder / TENSORS).write_bytes((folder / TENSORS).read_bytes()[:100])


def with_a_model_of_its_own(folder: Path) -> None:
    edit(folder / "config.json", model_type="theirs", auto_map={"AutoConfig": "theirs.Config"})


def with_a_processor_of_its_own(folder: Path) -> None:
    edit(folder / "processor_config.json", processor_class="Theirs", auto_map={"AutoProcessor": "theirs.Theirs"})


@pytest.mark.parametrize(
    ("hostile", "why"),
    [
        (pickled, "needs weights as safetensors, and holds only pickle files, which can run code"),
        (pickled_under_another_name, "model.safetensors is not a complete safetensors file"),
        (saved_by_torch_under_another_name, "model.safetensors is not a complete safetensors file"),
        (
            half_pickled,
            "model.safetensors.index.json names 'second.bin', which is not a safetensors file of that folder",
        ),
        (from_elsewhere, "names '../elsewhere/second.safetensors', which is not a safetensors file of that folder"),
        (cut, "model.safetensors is not a complete safetensors file"),
        (with_a_model_of_its_own, "needs code of its own, which is never run"),
        (with_a_processor_of_its_own, "needs code of its own, which is never run"),
    ],
)
def test_it_is_refused_in_one_line_and_runs_nothing(
    hostile: Callable[[Path], None], why: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    (folder / "theirs.py").write_text(f"import os\nos.mkdir({str(folder / 'touched')!r})\n")
    hostile(folder)
    with pytest.raises(Fatal) as refused:
        load_checkpoint(EngineSettings(model=str(folder), device="cpu"))
    assert str(refused.value).startswith(f"engine.model {folder}: ")
    assert why in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not (folder / "touched").exists()


def test_pickles_beside_the_weights_are_never_opened(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "model.pt", "optimizer.pkl"):
        (folder / name).write_bytes(pickle.dumps(Touching(folder / "touched")))
    (folder / "theirs.py").write_text(f"import os\nos.mkdir({str(folder / 'touched')!r})\n")
    edit(folder / "config.json", auto_map={"AutoModelForImageTextToText": "theirs.Model"})
    assert load_checkpoint(EngineSettings(model=str(folder), device="cpu")).name == "model"
    assert not (folder / "touched").exists()


def test_weights_in_several_files_are_loaded(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    split(folder, "second.safetensors")
    assert load_checkpoint(EngineSettings(model=str(folder), device="cpu")).name == "model"


@pytest.mark.parametrize(
    "reaching",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__init__.__globals__ }}",
        "{{ lipsum.__globals__['os'].popen('id').read() }}",
        "{% include '/etc/passwd' %}",
        "{{ 1 / 0 }}",
        "{% for a in range(10 ** 9) %}{% endfor %}",
    ],
)
def test_a_chat_template_can_t_reach_out_of_its_sandbox(reaching: str) -> None:
    tokenizer = make_tokenizer(template=reaching + "{% for message in messages %}{{ message.content }}{% endfor %}")
    with pytest.raises(Fatal, match="chat template can't be rendered"):
        SafeTokenizer(tokenizer, tokenizer.convert_tokens_to_ids("<|image|>"))
