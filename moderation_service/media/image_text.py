"""The words in images: OCR on a bounded pool of threads beside decoding, with an LRU cache keyed by image digest."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from time import perf_counter
from types import ModuleType

import structlog
from cachetools import LRUCache

from moderation_service.contracts.engine_input import Pixels
from moderation_service.errors import Misconfigured
from moderation_service.media.loaded_image import LoadedImage, LoadedImages
from moderation_service.media.text_removal import ImageText
from moderation_service.settings import MediaSettings
from moderation_service.telemetry import metrics

_CACHED = 4096  # images; at most 2,000 characters each
_READING = metrics.STAGE_SECONDS.labels("ocr")

log = structlog.get_logger(__name__)


class ImageTextReader:
    """Reads the words in a post's images.

    `read` gives those of one image's frames, None where nothing looks like words, and blocks.
    """

    def __init__(self, read: Callable[[Sequence[Pixels]], ImageText | None], threads: ThreadPoolExecutor) -> None:
        self._read, self._threads = read, threads
        self._texts = LRUCache[str, ImageText](_CACHED)

    async def with_text(self, loaded: LoadedImages) -> LoadedImages:
        """The same images with their words. Nothing that is wrong with an image raises."""
        begun = perf_counter()
        texts = await asyncio.gather(*map(self._text, loaded.images))
        took = perf_counter() - begun
        _READING.observe(took)
        images = (
            replace(image, is_text_missing=True)
            if text is None
            else replace(image, text=text.words, text_boxes=text.boxes)
            for image, text in zip(loaded.images, texts, strict=True)
        )
        return replace(loaded, images=tuple(images), decode_ms=loaded.decode_ms + took * 1000)

    async def _text(self, image: LoadedImage) -> ImageText | None:
        """The words; None where they could not be read."""
        if not image.frames or image.sha256 is None:
            return ImageText("")
        if (known := self._texts.get(image.sha256)) is not None:
            return known
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, self._read, image.frames)
        except Exception as error:  # noqa: BLE001 - whatever a net makes of an image, the post is judged
            log.warning("words of an image could not be read", error=type(error).__name__)
            metrics.IMAGE_TEXTS.labels("failed").inc()
            return None
        metrics.IMAGE_TEXTS.labels("no_lines" if found is None else "words" if found.words else "no_words").inc()
        self._texts[image.sha256] = found or ImageText("")
        return self._texts[image.sha256]


@asynccontextmanager
async def open_text_reader(settings: MediaSettings) -> AsyncIterator[ImageTextReader | None]:
    """The reader of `media.ocr`; None where it is off. Raises Misconfigured where the extra `ocr` is missing."""
    if settings.ocr == "off":
        yield None
        return
    threads = ThreadPoolExecutor(settings.ocr_threads, thread_name_prefix="ocr")
    try:
        read = await asyncio.get_running_loop().run_in_executor(threads, _load)
        yield ImageTextReader(read, threads)
    finally:
        await asyncio.to_thread(threads.shutdown, cancel_futures=True)


def ocr_rules(settings: MediaSettings) -> tuple[object, ...]:
    """All that decides which words are read; () where none are. Raises Misconfigured as `open_text_reader`."""
    return () if settings.ocr == "off" else _ocr().RULES


def _ocr() -> ModuleType:
    try:
        return import_module("moderation_service.media.ocr")
    except ModuleNotFoundError as error:
        msg = f"media.ocr auto: {error.name} is missing; pip install 'moderation-service[ocr]', or set media.ocr to off"
        raise Misconfigured(msg) from error


def _load() -> Callable[[Sequence[Pixels]], ImageText | None]:
    read: Callable[[Sequence[Pixels]], ImageText | None] = _ocr().TextRecognizer().read
    return read
