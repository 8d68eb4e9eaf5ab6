import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moderation_service.contracts.post import ImageRef
from moderation_service.errors import Misconfigured
from moderation_service.media.loaded_image import ImageFault
from moderation_service.media.loader import ImageLoader
from moderation_service.media.storage import FileReader
from moderation_service.settings import MediaSettings

MakeImage = Callable[..., bytes]

pytestmark = pytest.mark.timeout(30)
CAFE = "caf\u00e9"


@pytest.fixture
def root(tmp_path: Path, make_image: MakeImage) -> Path:
    (tmp_path / "secret.png").write_bytes(make_image())
    root = tmp_path / "root"
    (root / "cats").mkdir(parents=True)
    (root / "cats" / "a cat.png").write_bytes(make_image())
    return root


async def status(root: Path, url: str, **changes: object) -> str:
    settings = MediaSettings.model_validate({"allowed_schemes": {"file"}, "file_root": root, **changes})
    async with ImageLoader(settings) as loader:
        return (await loader.load([ImageRef(url=url)])).images[0].status


@pytest.mark.parametrize(
    "url",
    [
        "file:cats/a cat.png",
        "file:cats/a%20cat.png",
        "FILE:./cats/../cats/a cat.png",
        "file:cats\\a cat.png",
        "file:.\\cats\\a%20cat.png",
        " file:cats/a cat.png\n",
        "file:{root}/cats/a cat.png",
        "file://{root}/cats/a%20cat.png",
        "file://LOCALHOST{root}/cats/a%20cat.png",
    ],
)
async def test_a_file_under_the_folder_is_read_however_its_path_is_written(url: str, root: Path) -> None:
    assert await status(root, url.format(root=root)) == "judged"


@pytest.mark.parametrize("name", ["100%25.png", "a%20b.png", "a\\b.png", "é.png", "e\u0301.png", "a#b?c.png", " .png"])
async def test_a_file_is_found_by_its_own_name_whatever_else_that_could_mean(
    name: str, root: Path, make_image: MakeImage
) -> None:
    (root / name).write_bytes(make_image())
    assert await status(root, f"file:{name}") == "judged"


@pytest.mark.parametrize(("stored", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
async def test_a_name_is_found_in_either_normal_form(
    stored: Any, written: Any, root: Path, make_image: MakeImage
) -> None:
    (root / f"{unicodedata.normalize(stored, CAFE)}.png").write_bytes(make_image())
    assert await status(root, f"file:{unicodedata.normalize(written, CAFE)}.png") == "judged"


@pytest.mark.parametrize(
    "url",
    [
        "file:../secret.png",
        "file:cats/../../secret.png",
        "file:%2e%2e/secret.png",
        "file:../absent.png",
        "file:../../../../../etc/absent",
        "file:/etc/passwd",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "file:~/secret.png",
        "file:\\secret.png",
        "file:..\\secret.png",
        "file:cats\\..\\..\\secret.png",
        "file:%2e%2e%5csecret.png",
        "file://server/cats/a cat.png",
        "file://cats/a cat.png",
        "file:///absent",
        "file:cats/a%00.png",
        "file:",
    ],
)
async def test_nothing_outside_the_folder_is_read_or_told_of(url: str, root: Path) -> None:
    assert await status(root, url) == "refused"


async def test_a_link_is_followed_only_inside_the_folder(root: Path) -> None:
    (root / "in.png").symlink_to(root / "cats" / "a cat.png")
    (root / "out.png").symlink_to(root.parent / "secret.png")
    (root / "up").symlink_to(root.parent)
    (root / "loop.png").symlink_to(root / "loop.png")
    assert await status(root, "file:in.png") == "judged"
    assert await status(root, "file:out.png") == "refused"
    assert await status(root, "file:up/secret.png") == "refused"
    assert await status(root, "file:loop.png") == "unavailable"


async def test_what_is_no_readable_file_is_not_read(root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert await status(root, "file:absent.png") == "unavailable"
    assert await status(root, "file:cats/a cat.png/x") == "unavailable"
    assert await status(root, "file:" + "x" * 5000) == "unavailable"
    assert await status(root, "file:pipe") == "refused"
    assert await status(root, "file:cats") == "unavailable"


async def test_a_file_over_the_cap_is_too_large(root: Path) -> None:
    size = (root / "cats" / "a cat.png").stat().st_size
    assert await status(root, "file:cats/a cat.png", max_bytes=size) == "judged"
    assert await status(root, "file:cats/a cat.png", max_bytes=size - 1) == "too_large"


def test_a_link_put_in_place_after_the_check_is_not_followed(root: Path) -> None:
    reader = FileReader(root, 1000)
    (root / "late.png").symlink_to(root.parent / "secret.png")
    reader._inside = lambda name: root / name  # type: ignore[method-assign] # the check has passed
    with pytest.raises(ImageFault) as caught:
        reader.read("file:late.png")
    assert caught.value.status == "unavailable"


async def test_files_are_refused_where_they_are_not_allowed(root: Path) -> None:
    assert await status(root, "file:cats/a cat.png", allowed_schemes={"https"}) == "refused"


@pytest.mark.parametrize("folder", [None, Path("/absent-folder")])
async def test_the_loader_does_not_start_without_its_folder(folder: Path | None) -> None:
    loader = ImageLoader(MediaSettings(allowed_schemes=frozenset({"file"}), file_root=folder))
    with pytest.raises(Misconfigured, match=r"media\.file_root"):
        await loader.__aenter__()
