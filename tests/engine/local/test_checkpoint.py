import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from structlog.testing import capture_logs
from torch.cuda._utils import _get_device_index

from moderation_service.engine.local import checkpoint as module
from moderation_service.engine.local import checkpoint_files
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.engine.local.checkpoint_files import digest_folder
from moderation_service.engine.prompts import PACKED_ATTENTION
from moderation_service.errors import Fatal, Misconfigured
from moderation_service.settings import EngineSettings
from tests.deploy.files import ROOT


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_checkpoint, tmp_path / "copy")


def load(model: Path | str, **settings: Any) -> module.Checkpoint:
    return load_checkpoint(EngineSettings(model=str(model), device="cpu", **settings))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_checkpoint_is_named_after_its_folder_and_its_contents(tiny_checkpoint: Path) -> None:
    loaded = load(tiny_checkpoint)
    assert loaded.name == "tiny"
    assert loaded.revision == digest_folder(tiny_checkpoint)
    assert loaded.revision.startswith("sha256:")
    assert load(tiny_checkpoint, revision="v7").revision == loaded.revision


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_the_digest_follows_every_file_that_can_change_a_score(copy: Path, name: str) -> None:
    before = digest_folder(copy)
    (copy / "README.md").write_text("more about it")
    assert digest_folder(copy) == before
    with (copy / name).open("ab") as file:
        file.write(b" ")
    changed = digest_folder(copy)
    assert changed != before
    (copy / name).rename(copy / f"other-{name}")
    assert digest_folder(copy) not in {before, changed}


def test_weights_that_were_digested_before_are_not_read_again_while_their_size_and_time_are_the_same(
    copy: Path,
) -> None:
    anew, digests = digest_folder(copy), copy / ".digests"
    subprocess.run(["sh", ROOT / "k8s" / "model" / "digests.sh", copy], check=True, capture_output=True)
    assert digest_folder(copy, digests) == anew
    weights = copy / "model.safetensors"
    noted, times = digests.read_text(), (weights.stat().st_atime, weights.stat().st_mtime)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    digests.write_text(noted.replace(digest, "0" * 64))
    assert digest_folder(copy, digests) != anew, "the noted digest is taken"
    os.utime(weights, (times[0], times[1] + 60))
    assert digest_folder(copy, digests) == anew, "another time: it is read"
    with weights.open("ab") as file:
        file.write(b" ")
    os.utime(weights, times)
    assert digest_folder(copy, digests) == digest_folder(copy) != anew, "another size: it is read"
    for unreadable in ("no digests\n", None):
        digests.unlink() if unreadable is None else digests.write_text(unreadable)
        assert digest_folder(copy, digests) == digest_folder(copy)


def test_large_files_are_digested_once_and_again_when_they_change(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, read = copy / "model.safetensors", list[str]()
    sha256 = checkpoint_files._sha256
    monkeypatch.setattr(checkpoint_files, "_sha256", lambda path: read.append(path.name) or sha256(path))
    monkeypatch.setattr(checkpoint_files, "LARGE_BYTES", weights.stat().st_size)
    monkeypatch.setattr(checkpoint_files, "SETTLED_NS", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def digested() -> tuple[str, bool]:
        """The digest, and whether the weights were read for it."""
        read.clear()
        return digest_folder(copy), weights.name in read

    first, was_read = digested()
    assert was_read
    assert digested() == (first, False)
    times = weights.stat()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))  # which can't set back when it was changed
    changed, was_read = digested()
    assert (changed != first, was_read) == (True, True)
    (stamp,) = (tmp_path / "cache" / "moderation-service" / "digests").iterdir()
    stamp.write_text("no JSON")
    assert digested() == (changed, True)
    stamp.unlink()
    stamp.mkdir()  # can't be written
    assert digested() == digested() == (changed, True)


def test_without_a_home_directory_the_weights_are_read_at_each_start(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = digest_folder(copy)
    monkeypatch.setattr(checkpoint_files, "LARGE_BYTES", 1)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 2)  # whom no passwd entry knows
    assert digest_folder(copy) == wanted
    with pytest.raises(Fatal, match=r"engine\.model ~/model: .*home directory"):
        load("~/model")


def test_the_default_precision_on_a_cpu_is_float32_and_another_may_be_asked_for(tiny_checkpoint: Path) -> None:
    assert load(tiny_checkpoint).model.dtype == torch.float32
    assert load(tiny_checkpoint, dtype="bfloat16").model.dtype == torch.bfloat16


@pytest.mark.parametrize(("capability", "warnings"), [((8, 0), 0), ((7, 5), 1)])
def test_the_default_precision_on_a_gpu_is_bfloat16_and_an_old_one_is_named(
    capability: tuple[int, int], warnings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    with capture_logs() as logs:
        assert module._dtype("auto", torch.device("cuda")) is torch.bfloat16
    assert len(logs) == warnings


def test_attention_is_the_kind_that_reads_one_row_of_posts(tiny_checkpoint: Path) -> None:
    loaded = load(tiny_checkpoint)
    assert loaded.config._attn_implementation == PACKED_ATTENTION
    assert loaded.config.text_config._attn_implementation == PACKED_ATTENTION


@pytest.mark.parametrize("model", ["/nowhere/at/all", "./nothing", "some/deep/folder", "../up", "~/nothing"])
def test_a_folder_that_does_not_exist_is_never_looked_for_on_the_hub(model: str) -> None:
    with pytest.raises(Fatal, match="no such folder"):
        load(model)


def test_a_file_is_no_checkpoint(tiny_checkpoint: Path) -> None:
    with pytest.raises(Fatal, match="no such folder"):
        load(tiny_checkpoint / "config.json")


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(Fatal, match="needs weights as safetensors, and holds only pickle files"):
        load(copy)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="needs weights as safetensors, and holds none"):
        load(tmp_path)


def test_a_model_of_another_family_is_refused(copy: Path) -> None:
    (copy / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(Fatal, match="bert is not a model of the GLM-4V family"):
        load(copy)


def test_a_model_of_the_family_without_positions_for_images_is_refused(copy: Path) -> None:
    edit(copy / "config.json", lambda config: config["text_config"]["rope_parameters"].pop("mrope_section"))
    with pytest.raises(Fatal, match="mrope_section"):
        load(copy)


def test_a_model_whose_code_would_have_to_be_run_is_refused(copy: Path) -> None:
    code = {"AutoConfig": "theirs.Config", "AutoModelForImageTextToText": "theirs.Model"}
    edit(copy / "config.json", lambda config: config.update(model_type="theirs", auto_map=code))
    (copy / "theirs.py").write_text("raise SystemExit")
    with pytest.raises(Fatal):
        load(copy)


def test_weights_that_lack_a_tensor_are_refused_rather_than_made_up(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    lacking = sorted(weights)[3]
    weights.pop(lacking)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Fatal, match=f"the weights lack 1 tensors, for example {lacking}"):
        load(copy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "processor_config.json"])
def test_a_broken_file_is_one_clear_line(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"{ broken")
    with pytest.raises(Fatal, match=f"engine.model {copy}") as caught:
        load(copy)
    assert len(str(caught.value).splitlines()) == 1


def test_a_device_that_is_not_there_is_a_fault_of_the_settings(tiny_checkpoint: Path) -> None:
    with pytest.raises(Misconfigured, match=r"engine.device abacus"):
        load_checkpoint(EngineSettings(model=str(tiny_checkpoint), device="abacus"))


@pytest.mark.parametrize(
    ("name", "gpus", "chosen"),
    [("auto", 0, "cpu"), ("auto", 2, "cuda:0"), ("cuda", 1, "cuda:0"), ("cuda:1", 2, "cuda:1"), ("cpu", 2, "cpu")],
)
def test_a_gpu_that_is_chosen_is_the_current_one_of_the_model_s_thread(
    monkeypatch: pytest.MonkeyPatch, name: str, gpus: int, chosen: str
) -> None:
    current = see_gpus(monkeypatch, gpus)
    assert module.choose_device(name) == torch.device(chosen)
    assert current == [torch.device(chosen)] * chosen.startswith("cuda")


def test_a_gpu_without_an_index_is_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    current = see_gpus(monkeypatch, 2)
    module.use_device(torch.device("cuda"))
    module.use_device(torch.device("cuda", 1))
    assert current == [torch.device("cuda", 0), torch.device("cuda", 1)]


@pytest.mark.parametrize(
    ("name", "gpus", "said"),
    [
        ("cuda", 0, "engine.device cuda: no such GPU, this process sees none that torch can use"),
        ("cuda:1", 1, "engine.device cuda:1: no such GPU, this process sees 1 that torch can use (cuda:0);"),
        ("cuda:7", 4, "sees 4 that torch can use (cuda:0 to cuda:3); CUDA_VISIBLE_DEVICES may hide others"),
        ("cuda:-1", 2, "engine.device cuda:-1: this machine has no such device"),
    ],
)
def test_a_gpu_that_is_not_there_is_named_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch, name: str, gpus: int, said: str
) -> None:
    current = see_gpus(monkeypatch, gpus)
    with pytest.raises(Misconfigured, match=re.escape(said)):
        module.choose_device(name)
    assert current == []


def see_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> list[torch.device]:
    """As on a machine with so many; returns what becomes the current one."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    # Which refuses `cuda` without an index, as torch does.
    monkeypatch.setattr(
        torch.cuda, "set_device", lambda device: current.append(torch.device("cuda", _get_device_index(device)))
    )
    monkeypatch.setattr(torch, "empty", lambda *_, device: None)
    return current


def test_a_name_on_the_hub_is_asked_for_with_its_revision_and_without_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def from_pretrained(name: str, **arguments: Any) -> None:
        asked.update(arguments, name=name)
        message = "we have no network here\nand much more to say"
        raise OSError(message)

    monkeypatch.setattr(module.AutoConfig, "from_pretrained", from_pretrained)
    with pytest.raises(Fatal, match=r"engine.model zai-org/GLM-4.6V-Flash: OSError: we have no network here$"):
        load("zai-org/GLM-4.6V-Flash", revision="abc")
    assert asked == {
        "name": "zai-org/GLM-4.6V-Flash", "revision": "abc", "trust_remote_code": False, "local_files_only": False,
    }  # fmt: skip
