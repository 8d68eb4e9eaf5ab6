"""Image loader: a post's references to bytes (inline, file, bucket, web) to pixels, side by side and bounded."""

import asyncio
import binascii
import re
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import NamedTuple, Self, TypeVar
from urllib.parse import unquote_to_bytes

from moderation_service.backoff import Backoff
from moderation_service.contracts.enums import ImageStatus
from moderation_service.contracts.post import ImageRef, is_data_url
from moderation_service.media.decode import DecodeCache
from moderation_service.media.dns_cache import LOOKUPS_PER_POST, Lookup
from moderation_service.media.fetch import WebFetcher
from moderation_service.media.loaded_image import ImageFault, LoadedImage, LoadedImages, TransientFault
from moderation_service.media.storage import FileReader, ObjectReader, is_file_url
from moderation_service.settings import MediaSettings
from moderation_service.telemetry import tracing

__all__ = ["ImageLoader", "LoadedImage", "LoadedImages"]
_WHITESPACE = b" \t\r\n\f"
_STANDARD = bytes.maketrans(b"-_", b"+/")  # from the URL-safe alphabet
_BASE64 = re.compile(r";\s*base64\s*\Z", re.IGNORECASE)
BACKOFF = Backoff(first_s=0.2, longest_s=1.0)
_T = TypeVar("_T")


class _PostLimits(NamedTuple):
    """What one post may have under way at once, so that none takes what all share."""

    fetches: asyncio.Semaphore
    lookups: asyncio.Semaphore


class ImageLoader:
    """One for the whole process; an async context manager. Entering it raises Misconfigured, and connects to nothing.

    `keeps_bytes`: each image is handed out with the bytes that it was decoded from. `lookup` stands in for DNS in
    tests.
    """

    def __init__(self, settings: MediaSettings, *, keeps_bytes: bool = False, lookup: Lookup | None = None) -> None:
        self._settings = settings
        self.keeps_bytes = keeps_bytes
        self._decode = DecodeCache(settings)
        self._lookup = lookup
        self._resources = AsyncExitStack()
        self._slots = asyncio.Semaphore(settings.concurrent_images)
        self._threads: ThreadPoolExecutor | None = None
        self._web: WebFetcher | None = None
        self._objects: ObjectReader | None = None
        self._files: FileReader | None = None

    async def __aenter__(self) -> Self:
        """Open what the allowed schemes need."""
        settings = self._settings
        if "file" in settings.allowed_schemes:
            self._files = FileReader(settings.file_root, settings.max_bytes)
        if "object" in settings.allowed_schemes:
            self._objects = ObjectReader(settings)
        self._threads = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="media")
        self._resources.push_async_callback(asyncio.to_thread, self._threads.shutdown, cancel_futures=True)
        if settings.allowed_schemes & {"http", "https"}:
            self._web = await self._resources.enter_async_context(WebFetcher(settings, lookup=self._lookup))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection, and wait for the image each thread is at."""
        await self._resources.aclose()

    async def load(self, references: Sequence[ImageRef]) -> LoadedImages:
        """Load the first `max_images` side by side. What is wrong with an image is in its status, never raised."""
        taken = references[: self._settings.max_images]
        limits = _PostLimits(asyncio.Semaphore(self._settings.fetches_per_post), asyncio.Semaphore(LOOKUPS_PER_POST))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._load(reference, limits)) for reference in taken]
        done = [task.result() for task in tasks]
        skipped = [LoadedImage(ImageStatus.SKIPPED)] * (len(references) - len(taken))
        return LoadedImages(
            images=(*(image for image, _, _ in done), *skipped),
            fetch_ms=max((fetch for _, fetch, _ in done), default=0.0),
            decode_ms=max((took for _, _, took in done), default=0.0),
        )

    async def _load(self, reference: ImageRef, limits: _PostLimits) -> tuple[LoadedImage, float, float]:
        """One image, and how many milliseconds it took to have and to decode it."""
        started = perf_counter()
        try:
            if read := self._local_source(reference):
                with tracing.step("decode"):
                    return await self._on_thread(self._read_and_decode, read), 0.0, _ms_since(started)
            fetch = self._remote_source(reference, limits.lookups)
        except ImageFault as fault:
            return LoadedImage(fault.status), _ms_since(started), 0.0
        async with limits.fetches:
            # Waiting for its own post counts, so that no post takes several deadlines; waiting for others does not.
            left = self._settings.fetch_timeout_s - (perf_counter() - started)
            async with self._slots:
                try:
                    with tracing.step("fetch"):
                        data = await self._fetch_with_retries(fetch, left)
                except ImageFault as fault:
                    return LoadedImage(fault.status), _ms_since(started), 0.0
                fetched = _ms_since(started)
                with tracing.step("decode"):
                    image = await self._on_thread(self._decode_kept, data)
                return image, fetched, _ms_since(started) - fetched

    def _local_source(self, reference: ImageRef) -> Callable[[], bytes] | None:
        """What reads an image that no host is asked for; None for others."""
        limit = self._settings.max_bytes
        url = reference.url or ""
        if is_file_url(url):
            if self._files is None:
                raise ImageFault(status=ImageStatus.REFUSED, why="scheme not allowed")
            return partial(self._files.read, url)
        inline = reference.data or url
        if reference.data is None and not is_data_url(inline):
            return None
        if "data" not in self._settings.allowed_schemes:
            raise ImageFault(status=ImageStatus.REFUSED, why="scheme not allowed")
        return partial(from_data_url if is_data_url(inline) else from_base64, inline, limit)

    def _read_and_decode(self, read: Callable[[], bytes]) -> LoadedImage:
        try:
            return self._decode_kept(read())
        except ImageFault as fault:
            return LoadedImage(fault.status)

    def _decode_kept(self, data: bytes) -> LoadedImage:
        image = self._decode(data)
        return replace(image, data=data) if self.keeps_bytes else image

    def _remote_source(self, reference: ImageRef, lookups: asyncio.Semaphore) -> Callable[[], Awaitable[bytes]]:
        if reference.object is not None and self._objects is not None:
            return partial(self._objects.read, reference.object)
        if reference.url is not None and self._web is not None:
            return partial(self._web.fetch, reference.url, lookups=lookups)
        raise ImageFault(status=ImageStatus.REFUSED, why="scheme not allowed")

    async def _fetch_with_retries(self, fetch: Callable[[], Awaitable[bytes]], deadline: float) -> bytes:
        """`fetch` up to `fetch_attempts` times, all within `deadline` seconds."""
        if deadline <= 0:
            raise ImageFault(status=ImageStatus.UNAVAILABLE, why="deadline")
        try:
            async with asyncio.timeout(deadline):
                failures = 0
                while True:
                    try:
                        return await fetch()
                    except TransientFault:
                        failures += 1
                        if failures == self._settings.fetch_attempts:
                            raise
                    await BACKOFF.wait(failures)
        except TimeoutError:
            pass
        raise ImageFault(status=ImageStatus.UNAVAILABLE, why="deadline")

    async def _on_thread(self, work: Callable[..., _T], *arguments: object) -> _T:
        if self._threads is None:
            msg = "the loader is used outside its context"
            raise RuntimeError(msg)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def from_base64(text: str | bytes, max_bytes: int) -> bytes:
    """The bytes of a base64 text: either alphabet, with or without padding, line breaks allowed.

    Raises ImageFault `too_large` or `undecodable`.
    """
    # Checked on the text: nothing over the cap is decoded. Line breaks take at most one byte in 32.
    if len(text) > (max_bytes + 2) // 3 * 4 * 33 // 32 + 4:
        raise ImageFault(status=ImageStatus.TOO_LARGE, why="base64")
    try:
        raw = text.encode("ascii") if isinstance(text, str) else text
        raw = raw.translate(_STANDARD, _WHITESPACE).rstrip(b"=")
        data = binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except ValueError:  # binascii.Error and UnicodeEncodeError are both of it
        raise ImageFault(status=ImageStatus.UNDECODABLE, why="not base64") from None
    if len(data) > max_bytes:
        raise ImageFault(status=ImageStatus.TOO_LARGE, why="bytes")
    return data


def from_data_url(url: str, max_bytes: int) -> bytes:
    """The bytes of a `data:` URL, base64 or percent-encoded. Raises ImageFault `too_large` or `undecodable`."""
    head, comma, payload = url.partition("#")[0].partition(",")
    if not comma:
        raise ImageFault(status=ImageStatus.UNDECODABLE, why="no payload")
    try:
        raw = unquote_to_bytes(payload)
    except UnicodeEncodeError:
        raise ImageFault(status=ImageStatus.UNDECODABLE, why="not text") from None
    if _BASE64.search(head):
        return from_base64(raw, max_bytes)
    if len(raw) > max_bytes:
        raise ImageFault(status=ImageStatus.TOO_LARGE, why="bytes")
    return raw


def _ms_since(started: float) -> float:
    return (perf_counter() - started) * 1000
