from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from moderation_service.contracts.engine_input import Pixels
from moderation_service.contracts.enums import ImageStatus
from moderation_service.errors import Misconfigured
from moderation_service.media import image_text
from moderation_service.media.image_text import ImageTextReader, ocr_rules, open_text_reader
from moderation_service.media.loaded_image import LoadedImage, LoadedImages
from moderation_service.media.text_removal import ImageText
from moderation_service.settings import MediaSettings
from moderation_service.telemetry import metrics


def image(name: str, level: int = 0) -> LoadedImage:
    return LoadedImage(ImageStatus.JUDGED, sha256=name, frames=(np.full((8, 8, 3), level, np.uint8),))


def images(*given: LoadedImage) -> LoadedImages:
    return LoadedImages(given, fetch_ms=1.0, decode_ms=2.0)


class Net:
    """Reads the level of an image; breaks on white ones."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, frames: Sequence[Pixels]) -> ImageText | None:
        self.calls += 1
        level = int(frames[0][0, 0, 0])
        if level == 255:
            raise RuntimeError("what was read")
        return ImageText(f"level {level}") if level else None


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
def reader(net: Net) -> ImageTextReader:
    return ImageTextReader(net, ThreadPoolExecutor(1))


async def test_each_image_gets_its_words_and_is_read_once(reader: ImageTextReader, net: Net) -> None:
    missing = LoadedImage(ImageStatus.UNAVAILABLE)
    loaded = images(image("a", 7), missing, image("b"))
    for _ in range(2):
        read = await reader.with_text(loaded)
        assert [one.text for one in read.images] == ["level 7", "", ""]
    assert net.calls == 2
    assert read.decode_ms > loaded.decode_ms


async def test_an_image_that_breaks_a_net_is_counted_logged_without_its_words_and_read_again(
    reader: ImageTextReader, net: Net, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = metrics.IMAGE_TEXTS.labels("failed")
    before = failed._value.get()
    for _ in range(2):
        read = await reader.with_text(images(image("a", 255), image("b", 9)))
        assert [one.text for one in read.images] == ["", "level 9"]
    assert (failed._value.get() - before, net.calls) == (2, 3)
    said = "".join(capsys.readouterr())
    assert "RuntimeError" in said
    assert "what was read" not in said


async def test_off_reads_nothing_and_changes_no_digest() -> None:
    assert ocr_rules(MediaSettings()) == ()
    async with open_text_reader(MediaSettings()) as reader:
        assert reader is None


async def test_without_the_extra_auto_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name="rapidocr")

    monkeypatch.setattr(image_text, "import_module", missing)
    with pytest.raises(Misconfigured, match=r"rapidocr is missing; pip install 'moderation-service\[ocr\]'"):
        async with open_text_reader(MediaSettings(ocr="auto")):
            pass
