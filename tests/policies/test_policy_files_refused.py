"""A folder, a file's name and a case's images are refused where they do not fit."""

from collections.abc import Callable
from pathlib import Path

import pytest

from moderation_service.errors import Misconfigured
from moderation_service.policies.pack import load_pack

Edit = Callable[[str, str], str]
Refusal = Callable[[], str]


def test_a_file_must_be_named_after_its_policy(refused_edit: Edit) -> None:
    """The name of a file tells which policy it is."""
    assert refused_edit("id: weapon_sale", "id: knife_sale") == (
        "weapon_sale.yaml:1: id: knife_sale is not the file's name;"
        " should be weapon_sale, or the file be named knife_sale.yaml"
    )


def test_two_files_cannot_have_one_id(folder: Path, refusal: Refusal) -> None:
    """A copied file keeps the id of its original until it is changed."""
    (folder / "knife_sale.yaml").write_bytes((folder / "weapon_sale.yaml").read_bytes())
    assert refusal() == "knife_sale.yaml:1: id: weapon_sale is the id of weapon_sale.yaml too; should be knife_sale"


def test_the_faults_of_all_files_are_told_at_once(folder: Path, refusal: Refusal) -> None:
    """In the order of the files' names."""
    for name in ("b", "a"):
        (folder / f"{name}.yaml").write_text("", encoding="utf-8")
    assert [line.split(":")[0] for line in refusal().splitlines()] == ["a.yaml", "b.yaml"]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """The field is the setting that names the folder."""
    with pytest.raises(Misconfigured) as refused:
        load_pack(tmp_path / "nowhere")
    assert str(refused.value) == (
        f"{tmp_path}/nowhere: policies.path: is not a folder; should be a folder of policy files (*.yaml)"
    )


def test_a_folder_without_policies_is_refused(folder: Path, refusal: Refusal) -> None:
    """A service without policies would allow everything."""
    (folder / "weapon_sale.yaml").unlink()
    assert refusal() == "FOLDER: policies.path: has no policy file; should have a file ID.yaml for each policy"


@pytest.mark.parametrize("suffix", [".yml", ".YAML"])
def test_another_ending_is_refused_and_not_passed_over(folder: Path, refusal: Refusal, suffix: str) -> None:
    """A policy that is silently not loaded is the worst of faults."""
    (folder / f"knife_sale{suffix}").write_text("", encoding="utf-8")
    assert refusal() == f"knife_sale{suffix}:1: file: ends in {suffix}; should be named knife_sale.yaml"


def test_a_missing_image_is_refused_with_the_nearest_name(refused_edit: Edit) -> None:
    """A case whose image is gone tests nothing."""
    assert refused_edit("images/knife.png", "images/knive.png") == (
        "weapon_sale.yaml:24: cases[0].images[0]: no such image in FOLDER; did you mean images/knife.png?"
    )


@pytest.mark.parametrize("path", ["zebra.png", "photos/knife.png"])
def test_a_missing_image_like_no_other_is_refused(refused_edit: Edit, path: str) -> None:
    """Without a near name the rule is told."""
    assert refused_edit("images/knife.png", path) == (
        "weapon_sale.yaml:24: cases[0].images[0]: no such image in FOLDER; should be a path from there"
    )


@pytest.mark.parametrize("path", ["../knife.png", "images/../images/knife.png", "/etc/hostname"])
def test_an_image_outside_the_folder_is_refused(refused_edit: Edit, path: str) -> None:
    """A pack reads its own folder only."""
    assert refused_edit("images/knife.png", path) == (
        f"weapon_sale.yaml:24: cases[0].images[0]: {path} is outside the policy's folder;"
        " should be a path from there, without .."
    )


def test_an_image_linked_from_outside_the_folder_is_refused(folder: Path, refusal: Refusal) -> None:
    """A link leads out as well as dots do."""
    (folder / "images" / "knife.png").unlink()
    (folder / "images" / "knife.png").symlink_to("/etc/hostname")
    assert "images/knife.png is outside the policy's folder" in refusal()


@pytest.mark.parametrize("path", ["https://cdn.example/knife.png", "images\\knife.png"])
def test_an_image_is_a_path_and_no_address(refused_edit: Edit, path: str) -> None:
    """Cases need no network."""
    assert refused_edit("images/knife.png", f"'{path}'") == (
        f"weapon_sale.yaml:24: cases[0].images[0]: {path!r} cannot stand here;"
        " should be a list of paths of images, from the policy's folder, as images/knife.png"
    )


def test_two_cases_cannot_have_one_name(refused_edit: Edit) -> None:
    """A report names a case by it."""
    assert refused_edit("  - name: weather", "  - name: offered") == (
        "weapon_sale.yaml:27: cases[1].name: 'offered' is here twice (first on line 21); should differ"
    )


def test_a_case_outside_the_scope_cannot_be_a_violation(refused_edit: Edit) -> None:
    """The policy would never be asked."""
    assert refused_edit("    surface: market", "    surface: feed") == (
        "weapon_sale.yaml:25: cases[0].expect: violation cannot come out, the post is outside the policy's scope;"
        " should be allow, or the scope wider"
    )
