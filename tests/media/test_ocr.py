"""The nets themselves, on few images since each takes a third of a second."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from moderation_service.contracts.engine_input import Pixels
from moderation_service.media import ocr
from moderation_service.media.ocr import TextRecognizer
from moderation_service.media.text_detection import find_lines
from moderation_service.media.text_removal import without_text

CHINESE = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"


def drawn(*lines: str, font: ImageFont.FreeTypeFont | None = None, size: tuple[int, int] = (320, 200)) -> Pixels:
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    drawing = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        drawing.text((10, 10 + 36 * number), line, "white", font or ImageFont.load_default(22))
    return np.asarray(image).copy()


@pytest.fixture(scope="module")
def recognizer() -> TextRecognizer:
    return TextRecognizer()


def words_of(recognizer: TextRecognizer, *frames: Pixels) -> str:
    found = recognizer.read(frames)
    assert found
    return found.words


def test_lines_are_read_from_top_to_bottom_and_those_of_an_overlapping_tile_once(recognizer: TextRecognizer) -> None:
    tiles = [drawn("Call me tonight,", "bring the money"), drawn("bring the money", "in a paper bag")]
    assert words_of(recognizer, *tiles) == "Call me tonight, bring the money in a paper bag"


def test_chinese_lines_are_joined_without_a_space(recognizer: TextRecognizer) -> None:
    try:
        font = ImageFont.truetype(CHINESE, 22)
    except OSError:
        pytest.skip("no Chinese font")
    assert (
        words_of(recognizer, drawn("九成新价格私聊", "今天投入明天翻倍", font=font)) == "九成新价格私聊今天投入明天翻倍"
    )


def test_what_looks_like_no_words_costs_no_net(recognizer: TextRecognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognizer, "_detect", None)
    tiny = np.zeros((3, 500, 3), np.uint8)
    assert recognizer.read([drawn(), tiny]) is None


def test_work_and_words_are_bounded(recognizer: TextRecognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = drawn("Call me tonight,", "bring the money")
    monkeypatch.setattr(ocr, "_MOST_RECOGNISED", 48 * 7)
    assert words_of(recognizer, frame) == "Call me tonight,"
    monkeypatch.setattr(ocr, "MAX_CHARACTERS", 7)
    assert words_of(recognizer, frame) == "Call me"


def test_a_frame_is_had_without_its_words(recognizer: TextRecognizer) -> None:
    image = np.full((300, 300, 3), (30, 90, 60), np.uint8)
    below = np.concatenate([image, drawn("Call me tonight,")[:, :300]])
    across = image.copy()
    across[125:205] = drawn("Call me tonight,")[:80, :300]
    frames = (below, image, across)
    found = recognizer.read(frames)
    assert found
    assert {box.frame for box in found.boxes} == {0, 2}
    (cropped, same, painted), is_plain = without_text(frames, found.boxes)
    assert not is_plain
    assert 300 <= cropped.shape[0] < below.shape[0]
    assert same is image
    assert painted.shape == across.shape
    assert not recognizer.read((cropped, painted))


def test_lines_are_found_in_small_and_large_letters_dark_and_light() -> None:
    light = drawn("Call me tonight,")
    dark = 255 - light
    assert all(map(find_lines, (light, dark, np.kron(light, np.ones((3, 3, 1), np.uint8)))))
    assert not find_lines(drawn())
