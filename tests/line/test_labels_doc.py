"""Every example of docs/reference/labels.md and docs/how-to/public-sets.md is read by the command line itself."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image

from moderation_service.cli import cli
from moderation_service.evaluation.label_sources import BundledPosts, LabelledPosts, LabelSource, labelled_posts
from moderation_service.evaluation.public_sets import PublicSet
from moderation_service.policies.pack import load_pack
from moderation_service.settings import Settings, shipped_policies

DOCS = Path(__file__).parents[2] / "docs"
DOC = (DOCS / "reference" / "labels.md").read_text(encoding="utf-8")
PUBLIC_SETS = (DOCS / "how-to" / "public-sets.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: (?P<name>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def section(title: str) -> list[re.Match[str]]:
    """The blocks under a heading."""
    (body,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", DOC, re.MULTILINE | re.DOTALL)
    return list(BLOCK.finditer(body))


async def loaded(title: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> LabelledPosts:
    """Write the section's files, with the images that they name, and load what its command names."""
    monkeypatch.chdir(folder)
    blocks = section(title)
    for block in blocks:
        if (name := block["name"]) and name != "left-out":
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(block["body"], encoding="utf-8")
            for image in re.findall(r"[\w/]+\.(?:jpg|png)", block["body"]):
                (folder / name).parent.joinpath(image).parent.mkdir(exist_ok=True)
                Image.new("RGB", (8, 8)).save((folder / name).parent / image)
    (command,) = (block["body"] for block in blocks if block["kind"] == "sh")
    _, bound, _ = cli.parse_args(command.strip().removeprefix("moderation "), exit_on_error=False)
    asked: dict[str, Any] = bound.arguments
    named = LabelSource(asked["labelled"], policy=asked.get("policy"), form=asked.get("form"), posts=asked.get("posts"))
    return await labelled_posts(Settings(), load_pack(shipped_policies()), named, BundledPosts("none", ()))


EXAMPLES: dict[str, dict[str, dict[str, bool]]] = {
    "A wrong row": {"p-1": {"weapon_sale": False}},
    "Posts as JSON lines": {"p-1": {"weapon_sale": True, "doxxing": False}, "p-2": {"weapon_sale": False}},
    "Posts as CSV": {"p-1": {"weapon_sale": True, "doxxing": False}, "p-2": {"weapon_sale": False}},
    "The Hateful Memes layout": {"8291": {"dehumanisation": True}, "46971": {"dehumanisation": False}},
    "A folder of images with a sheet": {
        "knife": {"weapon_sale": True, "weapon_display": True},
        "dog": {"weapon_sale": False},
    },
    "People's reviews": {"p-1": {"weapon_sale": True}},
}


@pytest.mark.parametrize(("title", "labels"), EXAMPLES.items())
async def test_an_example_is_loaded_with_its_labels(
    title: str, labels: dict[str, dict[str, bool]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = await loaded(title, tmp_path, monkeypatch)
    assert {one.post.post_id: dict(one.labels) for one in given.posts} == labels
    said = [f"left out: {row.where}: {row.why}" for row in given.left_out]
    assert said == [block["body"].strip() for block in section(title) if block["name"] == "left-out"]


async def test_what_stands_beside_labels_is_loaded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for title in ("Posts as JSON lines", "Posts as CSV", "People's reviews"):
        first = (await loaded(title, tmp_path, monkeypatch)).posts[0]
        assert first.attribution == {"weapon_sale": "combined"}
        assert len(first.post.images) == 1
        assert first.slices == (() if "reviews" in title else ("market",))
    folder = await loaded("A folder of images with a sheet", tmp_path, monkeypatch)
    assert folder.posts[0].post.text == "Lightly used, DM me for the price"


def test_the_page_of_public_sets_has_a_command_for_each_and_policies_that_load(tmp_path: Path) -> None:
    blocks = list(BLOCK.finditer(PUBLIC_SETS))
    for block in blocks:
        if block["name"]:
            (tmp_path / block["name"]).parent.mkdir(exist_ok=True)
            (tmp_path / block["name"]).write_text(block["body"], encoding="utf-8")
    policies = {policy.id for policy in load_pack(tmp_path / "public-sets").policies}
    commands = [
        cli.parse_args(line.removeprefix("moderation "), exit_on_error=False)[1].arguments
        for block in blocks
        for line in block["body"].splitlines()
        if line.startswith("moderation ")
    ]
    assert {command["form"] for command in commands} == set(get_args(PublicSet))
    assert {command["policy"] for command in commands} == policies


def test_no_section_with_a_file_is_forgotten() -> None:
    titles = re.findall(r"^## (.*)$", DOC, re.MULTILINE)
    assert {title for title in titles if any(block["name"] for block in section(title))} == EXAMPLES.keys()
