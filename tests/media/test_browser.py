"""What the model sees is what Chromium shows: one session for all generated images."""

import base64
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from hashlib import sha256
from io import BytesIO
from itertools import islice
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from PIL import Image
from playwright.async_api import Page

from moderation_service.media.containers import compose_frames
from moderation_service.media.decode import decode, read_container
from moderation_service.media.frame_selection import composite_over
from moderation_service.settings import MediaSettings
from tests.conftest import skip_or_fail
from tests.console.pages.browsing import CHROMIUM, browser, missing_browser
from tests.media.animations import random_apng, random_gif
from tests.media.crafted import Bytes
from tests.media.shown import GIF, PNG, every

MEAN = 2.0  # of 255 levels, in stills: rounding, and another way to enlarge subsampled colours
MOST = 4  # of 255 levels, at any pixel of an animation
SIDE = 256
AT_ONCE = 40
SCRIPT = """
const read = (image, width, height) => {
  const context = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true});
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0);
  const {data} = context.getImageData(0, 0, width, height);
  let text = "";
  for (let at = 0; at < data.length; at += 32768) {
    text += String.fromCharCode.apply(null, data.subarray(at, at + 32768));
  }
  return [width, height, btoa(text)];
};
const file = ([text, type]) => new Blob([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], {type});
const shown = async (one) => {
  const image = new Image();
  image.src = URL.createObjectURL(file(one));
  const loads = await new Promise((done) => { image.onload = () => done(true); image.onerror = () => done(false); });
  return loads ? read(image, image.naturalWidth, image.naturalHeight) : null;
};
const frames = async (one) => {
  const decoder = new ImageDecoder({data: file(one).stream(), type: one[1]});
  await decoder.completed;
  const all = [];
  for (let frameIndex = 0; frameIndex < decoder.tracks.selectedTrack.frameCount; frameIndex++) {
    const {image} = await decoder.decode({frameIndex});
    all.push(read(image, image.displayWidth, image.displayHeight));
  }
  return all;
};
"""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """An empty page from loopback, where all of the browser's interfaces are open."""
    if missing_browser():
        skip_or_fail(f"no {CHROMIUM}: apt-get install chromium")

    async def empty(_: web.BaseRequest) -> web.Response:
        return web.Response(text="<!doctype html>", content_type="text/html")

    runner = web.ServerRunner(web.Server(empty))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with browser() as chromium:
        opened = await (await chromium.new_context()).new_page()
        await opened.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        yield opened
    await runner.cleanup()


def levels(shown: tuple[int, int, str]) -> Bytes:
    width, height, text = shown
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]


def fault(data: bytes, shown: tuple[int, int, str] | None) -> str | None:
    """How ours differs from what was shown; None where it does not."""
    image = decode(data, MediaSettings(max_side=SIDE))
    if shown is None:  # then it does not matter whether ours was stricter
        return None
    if image.status != "judged":
        return image.status
    theirs = Image.fromarray(np.ascontiguousarray(levels(shown)))
    ours = image.frames[0]
    if (image.width, image.height) != theirs.size:
        return f"{image.width} × {image.height}, in the browser {theirs.size}"
    if ours.shape[1::-1] != theirs.size:
        theirs = theirs.resize(ours.shape[1::-1], Image.Resampling.BICUBIC)
    away = float(np.abs(ours.astype(int) - np.asarray(theirs)).mean())
    return f"{away:.1f} levels apart" if away > MEAN else None


def frame_faults(data: bytes, media_type: str, shown: list[tuple[int, int, str]]) -> list[str]:
    """How our frames differ from those that were shown."""
    ours = compose_frames(
        read_container(data, media_type),
        range(len(shown)),
        lambda patch: Image.open(BytesIO(patch.file())).convert("RGBA"),
    )
    faults = []
    for number, (theirs, image) in enumerate(zip(shown, ours, strict=True)):
        away = int(np.abs(levels(theirs).astype(int) - np.asarray(composite_over(image, "white"))).max())
        if away > MOST:
            faults.append(f"frame {number}: {away} levels apart")
    return faults


async def asked(page: Page, function: str, files: Sequence[tuple[bytes, str]]) -> list[Any]:
    """What a function of the script says of each file."""
    arguments = [[base64.b64encode(data).decode(), media_type] for data, media_type in files]
    found: list[Any] = await page.evaluate(
        f"async (all) => {{ {SCRIPT} return Promise.all(all.map({function})); }}", arguments
    )
    return found


async def test_images_and_animations_are_what_chromium_shows(page: Page) -> None:
    faults: dict[str, Any] = {}
    for images in batched(every(), AT_ONCE):
        shown = await asked(page, "shown", [(data, media_type) for _, data, media_type in images])
        found = {name: fault(data, one) for (name, data, _), one in zip(images, shown, strict=True)}
        faults |= {name: one for name, one in found.items() if one}
    files = [(make(seed)[0], kind) for seed in range(8) for make, kind in ((random_apng, PNG), (random_gif, GIF))]
    for (data, media_type), frames in zip(files, await asked(page, "frames", files), strict=True):
        if found_in := frame_faults(data, media_type, frames):
            faults[f"{media_type}, {sha256(data).hexdigest()[:8]}"] = found_in
    assert faults == {}


def batched(images: Iterable[tuple[str, bytes, str]], count: int) -> Iterator[list[tuple[str, bytes, str]]]:
    """In lists of up to `count` (itertools' own comes with Python 3.12)."""
    rest = iter(images)
    while batch := list(islice(rest, count)):
        yield batch
